# Many readers of one key share one request, its answer or its failure, and wake up when it is there.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use WbcacheTest;

my ($upstream, $node, $session) = start_served('main',
	conf => 'max_connections = 130',
	upstream => [ '--latency' => 0.3 ],
	server => { breaker_failures => 1000 });
$session->run(<<'END');
SELECT wbcache.create_endpoint('echo', 'echo:{x}', 'api', '/echo/{x}', soft_ttl => '10 min', error_ttl => '10 min');
CREATE UNLOGGED TABLE test.answer (client int, call int, digest text, finished timestamptz);

-- Calls of get, whose times are kept until all clients have theirs: the lock is held by the test until then.
-- Without a number, the client only gets ready.
CREATE FUNCTION test.get_often(key text, client int, calls int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  digests text[];
  times timestamptz[];
BEGIN
  FOR i IN 1 .. calls LOOP
    BEGIN
      digests[i] := wbcache.get(key)::text;
    EXCEPTION WHEN OTHERS THEN
      digests[i] := SQLSTATE || SQLERRM;
    END;
    times[i] := clock_timestamp();
  END LOOP;
  -- Leaves the processors to those who are being woken still, lest this test be what they wait for.
  PERFORM pg_sleep(0.1);
  IF client IS NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock_shared(1);
  INSERT INTO test.answer SELECT client, i, md5(digests[i]), times[i] FROM generate_series(1, calls) i;
END $$;
END

# Lets 100 connections read a key so many times each, all at once.
sub stampede
{
	my ($key, $calls) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/get_often.sql';
	my ($out, $err) = ('', '');

	$session->ask('echo:warm');
	unlink($script);
	append_to_file($script, "SELECT test.get_often('echo:warm', NULL, 1);\nSELECT test.get_often('$key', :client_id, $calls);\n");
	$session->run('TRUNCATE test.answer; SELECT pg_advisory_lock(1)');
	my $pgbench = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', 100, '-j', 2, '-t', 1,
			'-M', 'simple', '-f', $script, $node->connstr('postgres') ], '>', \$out, '2>', \$err);
	ok(await_value($session, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 100),
		'all connections have their answers');
	$session->run('SELECT pg_advisory_unlock(1)');
	ok($pgbench->finish, 'pgbench') or diag($err);
	return;
}

behaviour '1,000 reads of a cold key on 100 connections make one request' => sub {
	stampede('echo:cold', 10);
	is($upstream->count('/echo/cold'), 1, 'requests');
	is($session->value('SELECT count(*), count(DISTINCT digest) FROM test.answer'), '1000|1', 'answers, different ones');
	is($session->value(q{SELECT count(*) FROM test.answer WHERE digest = md5(wbcache.get('echo:cold')::text)}), 1000,
		'answers that are the value in the cache');
};

behaviour 'all who wait are woken by the publish' => sub {
	$session->run('SELECT wbcache.stat_reset()');
	stampede('echo:wake', 1);
	my $cached_at = $session->ask('echo:wake')->{cached_at};
	my ($first, $half, $last) = split /\|/, $session->value(<<"END");
SELECT min(late), percentile_cont(0.5) WITHIN GROUP (ORDER BY late), max(late)
FROM (SELECT extract(epoch FROM finished) * 1000 - $cached_at * 1000 AS late FROM test.answer) t
END

	diag(sprintf('from the publish to the return of get: first of 100 readers %.1f ms, half of them %.1f ms, last %.1f ms',
			$first, $half, $last));
	is($session->stat('stat_coalescer', 'max_concurrent_waiters'), 100, 'readers that waited at one time');
	is($upstream->count('/echo/wake'), 1, 'requests');
	cmp_ok($first, '>=', 0, 'nobody has it before the publish');
	# What is promised is 10 ms on an idle machine; without a wake-up it would be max_wait.
	cmp_ok($last, '<', 250, 'milliseconds until the last one has it');
};

behaviour '1,000 reads that wait at one time make one request' => sub {
	my @readers = map { session($node, 'postgres') } 1 .. 10;

	$upstream->behave(path => '/api/v3/echo/many', hang => 1);
	$_->send(q{SELECT count(*), count(DISTINCT value::text), count(error)
			FROM wbcache.get_many(array_fill('echo:many'::text, ARRAY[100]))}) for @readers;
	ok(await_value($session, 'SELECT waiters FROM wbcache.stat_coalescer', 1000), 'waiters');
	$upstream->clear;
	is(($_->receive)[0], '100|1|0', 'answers, different ones, errors') for @readers;
	is($upstream->count('/echo/many'), 1, 'requests');
};

behaviour 'a failure is shared by all who wait for it, and remembered' => sub {
	$upstream->behave(path => '/api/v3/echo/broken', status => 503);
	stampede('echo:broken', 10);
	is($upstream->count('/echo/broken'), 1, 'requests');
	is($session->value('SELECT count(*), count(DISTINCT digest) FROM test.answer'), '1000|1', 'answers, different ones');
	is($session->ask('echo:broken')->{sqlstate}, 'WB001', 'what the answer is');
	$upstream->clear;
};

behaviour 'nothing is left behind' => sub {
	is($session->value('SELECT waiters, pending_keys FROM wbcache.stat_coalescer'), '0|0', 'waiters, pending keys');
	is($session->value('SELECT upstream_calls, total_requests - coalesced_requests FROM wbcache.stat_coalescer'), '3|3',
		'requests sent, reads that did not find a flight');
};

done_testing();
