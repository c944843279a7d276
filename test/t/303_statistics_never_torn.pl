# Whoever reads statistics sees numbers that fit together: no counter goes back, and a reset is seen whole or not at all.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main', server => { breaker_failures => 1000000, timeout => '60s' });

$session->run(<<'END');
SELECT wbcache.create_endpoint('busy', 'busy:{x}', 'api', '/echo/busy/{x}', soft_ttl => '20 ms', hard_ttl => '40 ms', error_ttl => '5 ms');
SELECT wbcache.create_endpoint('given', 'given:{x}');

-- All counters, as of one look at each view.
CREATE VIEW test.counters AS
  SELECT view || '.' || coalesce(row->>'endpoint', row->>'server', '') || '.' || coalesce(row->>'operation', '') || '.' || key AS name, value::bigint
  FROM (
    SELECT 'endpoint' AS view, to_jsonb(v) AS row FROM wbcache.stat_endpoint v
    UNION ALL SELECT 'latency', to_jsonb(v) FROM wbcache.stat_latency v
    UNION ALL SELECT 'server', to_jsonb(v) FROM wbcache.stat_server v
    UNION ALL SELECT 'coalescer', to_jsonb(v) FROM wbcache.stat_coalescer v
    UNION ALL SELECT 'invalidation', to_jsonb(v) FROM wbcache.stat_invalidation v
    UNION ALL SELECT 'memory', to_jsonb(v) FROM wbcache.stat_memory v) s, LATERAL jsonb_each_text(row)
  WHERE key IN (SELECT attribute FROM wbcache.metric_descriptions() WHERE type = 'counter') OR view = 'latency' AND key = 'count';

-- Looks at them until somebody ends it, and returns what went back, with the number of looks.
CREATE FUNCTION test.watch() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := '{}';
  now jsonb;
  back text;
  looks int := 0;
BEGIN
  LOOP
    SELECT jsonb_object_agg(name, value) INTO now FROM test.counters;
    looks := looks + 1;
    SELECT string_agg(format('%s: %s after %s', n.key, n.value, b.value), ', ') INTO back
      FROM jsonb_each_text(now) n JOIN jsonb_each_text(before) b USING (key) WHERE n.value::bigint < b.value::bigint;
    SELECT concat_ws(', ', back, string_agg(k || ' is gone', ', ')) INTO back FROM jsonb_object_keys(before) k WHERE NOT now ? k;
    IF back <> '' THEN
      RETURN back;
    END IF;
    EXIT WHEN pg_try_advisory_xact_lock_shared(1);
    before := now;
  END LOOP;
  RETURN looks || ' looks at ' || (SELECT count(*) FROM jsonb_object_keys(now)) || ' counters';
END $$;

-- Looks for numbers that contradict each other.
CREATE FUNCTION test.watch_resets() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  wrong text;
  looks int := 0;
BEGIN
  LOOP
    SELECT string_agg(to_jsonb(v)::text, ' ') INTO wrong FROM wbcache.stat_server v
      WHERE requests <> successes + not_modified + failures + running;
    IF wrong IS NULL THEN
      SELECT string_agg(to_jsonb(v)::text, ' ') INTO wrong FROM wbcache.stat_coalescer v
        WHERE coalesced_requests > total_requests OR hit_rate_percent > 100 OR waiters > max_concurrent_waiters;
    END IF;
    IF wrong IS NULL THEN
      SELECT string_agg(to_jsonb(v)::text, ' ') INTO wrong FROM wbcache.stat_invalidation v
        WHERE total <> status_change + odds_movement + cancelled + postponed + manual + sidebar_refresh;
    END IF;
    IF wrong IS NULL THEN
      SELECT string_agg(to_jsonb(v)::text, ' ') INTO wrong FROM wbcache.stat_endpoint v
        WHERE hit_rate_percent > 100 OR least(hits, stale, misses, collapsed, bypasses, errors, refresh_successes, refresh_failures) < 0;
    END IF;
    IF wrong IS NULL THEN
      SELECT string_agg(to_jsonb(v)::text, ' ') INTO wrong FROM wbcache.stat_latency v
        WHERE NOT (0 <= p50_ms AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND p99_ms <= max_ms);
    END IF;
    looks := looks + 1;
    IF wrong IS NOT NULL THEN
      RETURN wrong;
    END IF;
    EXIT WHEN pg_try_advisory_xact_lock_shared(1);
  END LOOP;
  RETURN looks || ' looks';
END $$;

-- Resets all the time.
CREATE FUNCTION test.reset_often() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    PERFORM wbcache.stat_reset();
    PERFORM pg_sleep(0.002);
    EXIT WHEN pg_try_advisory_xact_lock_shared(1);
  END LOOP;
  RETURN 'ended';
END $$;
END

# Eight clients read so many times each while these statements run, which end when advisory lock 1 is free.
sub under_load
{
	my ($times, @statements) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/reads.sql';
	my @watchers = map { session($node, 'postgres') } @statements;
	my ($out, $err) = ('', '');

	unlink($script);
	append_to_file($script, <<'END');
\set key random(1, 20)
\set event random(1, 20)
SELECT test.ask('busy:' || :key);
SELECT count(wbcache.get('given:1')) FROM generate_series(1, 20);
\if :event = 1
SELECT wbcache.invalidate('busy:' || :key);
\elif :event = 2
SELECT wbcache.invalidate_tag('busy', 'CANCELLED');
\endif
END
	$session->run('SELECT pg_advisory_lock(1)');
	$watchers[$_]->send($statements[$_]) for 0 .. $#statements;
	my $done = IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-c', 8, '-j', 2, '-t', $times, '-f', $script,
			$node->connstr('postgres') ], '>', \$out, '2>', \$err);
	$session->run('SELECT pg_advisory_unlock(1)');
	ok($done, 'eight clients read') or diag($err);
	return map { my ($result, $errors) = $_->receive; $result . $errors } @watchers;
}

$session->run(q{SELECT wbcache.set('given:1', '1', soft_ttl => '1 h')});
$upstream->behave(path => '/api/v3/echo/busy/7', status => 500);
$upstream->behave(path => '/api/v3/echo/busy/8', latency => 0.02);

behaviour 'two readers of statistics under load never see a counter go back' => sub {
	for my $seen (under_load(250, ('SELECT test.watch()') x 2))
	{
		like($seen, qr/^\d{2,} looks at \d{2,} counters$/, $seen);
	}
};

behaviour 'all is in the counters, and the durations, that was done' => sub {
	my @columns = qw(hits stale misses collapsed bypasses errors refresh_successes refresh_failures);

	$session->run('SELECT wbcache.stat_reset()');
	under_load(250);
	ok(await_value($session, 'SELECT waiters, pending_keys FROM wbcache.stat_coalescer', '0|0'), 'all is quiet');
	is($session->stat('stat_endpoint', 'hits + stale + misses + collapsed + bypasses + errors', q{endpoint = 'given'}), 8 * 250 * 20,
		'reads of one endpoint');
	my %count;
	@count{@columns} = split /\|/, $session->stat('stat_endpoint', join(', ', @columns), q{endpoint = 'busy'});
	is($count{hits} + $count{stale} + $count{misses} + $count{collapsed} + $count{bypasses} + $count{errors}, 8 * 250, 'reads of the other');
	my %timed = map { split /\|/ } split /\n/, $session->value(q{SELECT operation, count FROM wbcache.stat_latency WHERE endpoint = 'busy'});
	is($timed{stale}, $count{stale}, 'stale reads that were timed');
	is($timed{refresh}, $count{refresh_successes} + $count{refresh_failures}, 'flights that were timed');
	is($timed{fetch}, $session->stat('stat_server', 'requests'), 'requests that were timed');
	is($timed{wait}, $session->stat('stat_coalescer', 'waits'), 'waits that were timed');
	is($session->stat('stat_window', 'requests, hits, errors', q{endpoint = 'busy'}),
		$session->stat('stat_endpoint', 'hits + stale + misses + collapsed + bypasses + errors, hits, errors', q{endpoint = 'busy'}),
		'the window has them all');
};

behaviour 'a reset under load leaves numbers that fit together' => sub {
	my @seen = under_load(150, 'SELECT test.watch_resets()', 'SELECT test.watch_resets()', 'SELECT test.reset_often()');

	like($seen[$_], qr/^\d{2,} looks$/, $seen[$_]) for 0, 1;
	is($seen[2], 'ended', 'resets');
};

# All rows have the same number, but while they are read one after the other: then nobody looks. Resets are looked at all the
# time, and whoever finds two numbers has met one in the middle.
behaviour 'a reset is seen in all rows of a view, or in none' => sub {
	my $reader = session($node, 'postgres');

	$session->run(<<'END');
SELECT wbcache.create_endpoint(format('row%s', i)::name, format('row%s:{x}', i)) FROM generate_series(1, 500) i;
CREATE FUNCTION test.watch_rows() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  torn int := 0;
  looks int := 0;
BEGIN
  LOOP
    PERFORM pg_advisory_lock_shared(2);
    FOR i IN 1 .. 10 LOOP
      torn := torn + (SELECT count(DISTINCT misses) - 1 FROM wbcache.stat_endpoint_counters() WHERE endpoint LIKE 'row%');
      looks := looks + 1;
    END LOOP;
    PERFORM pg_advisory_unlock_shared(2);
    EXIT WHEN pg_try_advisory_xact_lock_shared(1);
  END LOOP;
  RETURN torn || ' torn of ' || looks;
END $$;
END
	$session->run(q{SELECT wbcache.get(format('row%s:1', i)) FROM generate_series(1, 500) i});
	$session->run('SELECT pg_advisory_lock(1)');
	$reader->send('SELECT test.watch_rows()');
	for (1 .. 100)
	{
		$session->run(<<'END');
SELECT pg_advisory_lock(2);
SELECT wbcache.get(format('row%s:1', i)) FROM generate_series(1, 500) i;
SELECT pg_advisory_unlock(2);
SELECT pg_sleep(random() / 200);
SELECT wbcache.stat_reset();
END
	}
	$session->run('SELECT pg_advisory_unlock(1)');
	like(($reader->receive)[0], qr/^0 torn of \d{3,}$/, 'what the reader saw');
};

$session->close;
done_testing();
