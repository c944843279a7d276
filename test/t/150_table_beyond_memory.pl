# The table tier: more values than memory holds, each answered without another load, after a clean restart too; and nothing
# from before is served after a crash.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $keys = 100_000;
my $memory = '16MB';
my $node = start_instance('main', conf => "wbcache.memory_size = $memory\nrestart_after_crash = on");
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run(<<'END_SQL');
CREATE SEQUENCE test.calls;
CREATE TABLE test.version (version int);
INSERT INTO test.version VALUES (1);
CREATE FUNCTION test.calls() RETURNS bigint LANGUAGE sql AS $$ SELECT last_value - 1 + is_called::int FROM test.calls $$;
CREATE FUNCTION test.load(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('test.calls');
  RETURN json_build_object('id', parts[2], 'version', (SELECT version FROM test.version), 'more', repeat(md5(parts[2]), 8));
END $$;
SELECT wbcache.create_endpoint('item', 'item:{id}', loader => 'test.load(text[])', soft_ttl => '10 h', tags => ARRAY['group:{id}']);

-- Reads keys from one number to another, 100 at a time; returns how many came with the right value and this version.
CREATE FUNCTION test.read(first int, last int, wanted int DEFAULT 1) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  good bigint := 0;
  n bigint;
BEGIN
  FOR i IN first .. last BY 100 LOOP
    SELECT count(*) INTO n
      FROM generate_series(i, least(i + 99, last)) k,
           LATERAL (SELECT wbcache.get('item:' || k) AS value) s
      WHERE s.value ->> 'id' = k::text AND (s.value ->> 'version')::int = wanted AND s.value ->> 'more' = repeat(md5(k::text), 8);
    good := good + n;
  END LOOP;
  RETURN good;
END $$;
CREATE PROCEDURE test.fill(first int, last int) LANGUAGE plpgsql AS $$
DECLARE
  n int;
BEGIN
  FOR i IN first .. last BY 200 LOOP
    SELECT count(*) INTO n FROM wbcache.get_many((SELECT array_agg('item:' || k) FROM generate_series(i, least(i + 199, last)) k))
      WHERE error IS NOT NULL;
    IF n > 0 THEN
      RAISE EXCEPTION '% errors', n;
    END IF;
    COMMIT;
  END LOOP;
END $$;
END_SQL

my $rows = q{SELECT count(*) FROM wbcache.entry WHERE wbcache.entry_is_current(key, epoch, stripes, generations)};

sub calls { return $session->value('SELECT test.calls()'); }

sub connect_again
{
	$session = session($node, 'postgres');
	$session->run(q{SET wbcache.max_wait = '30s'});
	return;
}

behaviour 'more keys than memory holds are loaded once' => sub {
	my @clients = map { session($node, 'postgres') } 1 .. 4;
	my $started = time();
	$_->run(q{SET wbcache.max_wait = '30s'}) for @clients;
	$clients[$_]->send(sprintf('CALL test.fill(%d, %d)', 1 + $_ * $keys / 4, ($_ + 1) * $keys / 4)) for 0 .. 3;
	is(join('', map { ($_->receive)[1] } @clients), '', 'no errors');
	diag(sprintf('%d keys loaded in %.1f s', $keys, time() - $started));
	is(calls(), $keys, 'loads');
	ok(await(sub { $session->stat('stat_memory', 'entries') > 0 && $session->value($rows) == $keys }), 'they are in the table');
	my $entries = $session->stat('stat_memory', 'entries');
	diag("memory of $memory holds $entries of them");
	cmp_ok($entries, '<', $keys * 0.9, 'memory does not hold all of them');
	cmp_ok($session->stat('stat_memory', 'used <= size'), 'eq', 't', 'nor grows');
};

behaviour 'each is answered without another load' => sub {
	my $before = calls();
	my $started = time();
	is($session->value("SELECT test.read(1, $keys)"), $keys, 'right values');
	diag(sprintf('from the table: %.0f reads a second', $keys / (time() - $started)));
	is(calls() - $before, 0, 'loads');
	my $answer = $session->ask('item:1');
	is($answer->{status}, 'hit', 'status');
	$session->run("SELECT test.read(2, $keys)");
	is($session->ask('item:1')->{detail}, 'table tier', 'where it came from');
	is($session->ask('item:1')->{detail}, 'memory tier', 'the next time');
};

# Rows of other keys that share a stripe with what is invalidated below: each costs a load, and gets a newer version. A row's
# stripes are those of everyone, patterns, the key, the endpoint, the tag.
my $shared;

behaviour 'what is invalidated is not served from the table' => sub {
	$shared = $session->value(q{SELECT count(*) FROM wbcache.entry WHERE key NOT IN ('item:1', 'item:2', 'item:3', 'item:4') AND stripes && ARRAY(
		SELECT CASE WHEN key IN ('item:1', 'item:3') THEN stripes[3] ELSE stripes[5] END FROM wbcache.entry
		WHERE key IN ('item:1', 'item:2', 'item:3', 'item:4'))});
	diag("other keys that share a stripe: $shared");
	$session->run(q{UPDATE test.version SET version = 2; SELECT wbcache.invalidate('item:1'), wbcache.invalidate_tag('group:2')});
	is($session->value('SELECT test.read(1, 2, 2)'), 2, 'one by key, one by tag: loaded anew');
	is($session->value('SELECT test.read(3, 4, 1)'), 2, 'others are not');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key IN ('item:1', 'item:2') AND
		wbcache.entry_is_current(key, epoch, stripes, generations)}, 2), 'the rows are written anew');
	$session->run(q{UPDATE test.version SET version = 3; SELECT wbcache.invalidate('item:3'), wbcache.invalidate_tag('group:4')});
};

behaviour 'after a clean restart each is answered without a load, but for what was invalidated' => sub {
	undef $session;
	$node->stop('fast');
	ok(-e $node->data_dir . '/pg_stat/wbcache.stripes', 'the generations are saved');
	$node->start;
	connect_again();
	ok(!-e $node->data_dir . '/pg_stat/wbcache.stripes', 'and the file is gone after the start');
	is($session->stat('stat_memory', 'entries'), 0, 'memory is empty');
	is($session->value('SELECT test.read(1, 2, 2)'), 2, 'the new values');
	my $before = calls();
	is($session->value('SELECT test.read(3, 4, 3)'), 2, 'what was invalidated before the restart is loaded anew');
	is(calls() - $before, 2, 'loads');
	is($session->value("SELECT test.read(5, $keys)"), $keys - 4 - $shared, 'the others have their value');
	is(calls() - $before, 2 + $shared, 'without a load');
};

behaviour 'an invalidation after the restart counts for what is in the table alone' => sub {
	$session->run(q{SELECT wbcache.invalidate_tag('item')});
	is($session->value('SELECT test.read(5, 10, 3)'), 6, 'the name of the endpoint is a tag of all');
	is($session->value('SELECT test.read(3000, 3005, 3)'), 6, 'whether or not it was read since');
};

# Rows with the stripes and generations of now, but of another epoch, must never be believed.
sub empty_after
{
	my ($name, $event) = @_;
	$session->run(q{SELECT test.read(11, 30, 3)});
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key = 'item:30' AND wbcache.entry_is_current(key, epoch, stripes, generations)}, 1),
		"$name: rows are written");
	$session->run('UPDATE test.version SET version = version + 1; CHECKPOINT');
	my $version = $session->value('SELECT version FROM test.version');
	$event->();
	connect_again();
	is($session->value($rows), 0, "$name: no row is of use");
	is($session->stat('stat_memory', 'entries'), 0, "$name: memory is empty");
	is($session->value("SELECT test.read(11, 30, $version)"), 20, "$name: nothing from before is served");
	$session->run("UPDATE test.version SET version = 3; SELECT wbcache.clear()");
	return;
}

behaviour 'after an immediate shutdown the cache is empty, and works' => sub {
	empty_after('immediate', sub {
		undef $session;
		$node->stop('immediate');
		$node->start;
	});
	is($session->value('SELECT count(*) FROM wbcache.entry WHERE cached_at < pg_postmaster_start_time()'), 0, 'the table was emptied');
};

behaviour 'after the crash of a backend too' => sub {
	empty_after('kill -9', sub {
		my $victim = session($node, 'postgres');
		my $log = log_size($node);
		kill('KILL', $victim->pid);
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $log);
		undef $victim;
		undef $session;
		$node->poll_query_until('postgres', 'SELECT true');
	});
};

behaviour 'generations that can not be read, or are missing, start a new epoch' => sub {
	my $file = $node->data_dir . '/pg_stat/wbcache.stripes';
	for my $damage (
		[ 'missing', sub { unlink $file } ],
		[ 'short', sub { truncate($file, 100_000) } ],
		[ 'empty', sub { truncate($file, 0) } ],
		[ 'changed', sub {
			open(my $fh, '+<', $file) or die $!;
			seek($fh, 5_000_000, 0);
			print $fh "\x01";
			close($fh);
		} ],
		[ 'of another kind', sub {
			open(my $fh, '+<', $file) or die $!;
			print $fh 'XXXX';
			close($fh);
		} ])
	{
		empty_after($damage->[0], sub {
			undef $session;
			$node->stop('fast');
			$damage->[1]->();
			$node->start;
		});
		ok(!-e $file, "$damage->[0]: the file is gone");
	}
};

done_testing();
