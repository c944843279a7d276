# An SQL loader runs once for everybody who waits, and nobody waits longer than wbcache.max_wait.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $node = start_instance('main', conf => 'max_connections = 230');
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

$session->run(<<'END_SQL');
CREATE SEQUENCE test.calls;
CREATE TABLE test.source (id text, value text);
INSERT INTO test.source VALUES ('1', 'one');
CREATE FUNCTION test.calls() RETURNS bigint LANGUAGE sql AS $$ SELECT last_value - 1 + is_called::int FROM test.calls $$;
CREATE FUNCTION test.slow(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('test.calls');
  PERFORM pg_sleep(1);
  RETURN json_build_object('at', clock_timestamp());
END $$;
CREATE FUNCTION test.failing(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('test.calls');
  PERFORM pg_sleep(1);
  RAISE EXCEPTION 'not today' USING ERRCODE = 'XX777', DETAIL = 'The detail.', HINT = 'The hint.';
END $$;
CREATE FUNCTION test.locking(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('test.calls');
  RETURN (SELECT json_agg(value) FROM test.source);
END $$;
SELECT wbcache.create_endpoint('slow', 'slow:{id}', loader => 'test.slow(text[])', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('failing', 'failing:{id}', loader => 'test.failing(text[])', soft_ttl => '1 h', error_ttl => '1 h');
SELECT wbcache.create_endpoint('locking', 'locking:{id}', loader => 'test.locking(text[])', soft_ttl => '1 h', lock_timeout => '1 min');

CREATE UNLOGGED TABLE test.answer (value text, finished timestamptz);
CREATE FUNCTION test.get_once(key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  answer text;
BEGIN
  BEGIN
    answer := wbcache.get(key);
  EXCEPTION WHEN OTHERS THEN
    answer := SQLSTATE || ' ' || SQLERRM;
  END;
  INSERT INTO test.answer VALUES (answer, clock_timestamp());
END $$;
END_SQL

# 200 connections read a key once each, held at the start until all are there. Returns how long it took, in seconds.
sub stampede
{
	my ($key) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir() . "/stampede.sql";
	my ($out, $err) = ('', '');

	unlink $script;
	PostgreSQL::Test::Utils::append_to_file($script,
		"SELECT pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1);\nSELECT test.get_once('$key');\n");
	$session->run(q{TRUNCATE test.answer; SELECT setval('test.calls', 1, false); SELECT pg_advisory_lock(1)});
	my $pgbench = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', 200, '-j', 2, '-t', 1,
			'-M', 'simple', '-f', $script, $node->connstr('postgres') ], '>', \$out, '2>', \$err);
	ok(await_value($session, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 200), 'all clients are there');
	my $started = time();
	$session->run('SELECT pg_advisory_unlock(1)');
	ok($pgbench->finish, 'pgbench') or diag($err);
	return time() - $started;
}

behaviour 'a loader of 1 s and 200 clients on one cold key: it runs once' => sub {
	my $took = stampede('slow:1');
	is($session->value('SELECT test.calls()'), 1, 'calls');
	is($session->value('SELECT count(*), count(DISTINCT value) FROM test.answer'), '200|1', 'answers, different ones');
	is($session->value(q{SELECT count(*) FROM test.answer WHERE value = wbcache.get('slow:1')::text}), 200, 'that are the cached value');
	diag(sprintf('200 clients had the value of a loader of 1 s after %.2f s', $took));
	cmp_ok($took, '<', 4, 'seconds');
};

behaviour 'its error goes to all of them' => sub {
	stampede('failing:1');
	is($session->value('SELECT test.calls()'), 1, 'calls');
	is($session->value('SELECT count(*), min(value), max(value) FROM test.answer'), '200|XX777 not today|XX777 not today', 'answers');
	my $answer = $session->ask('failing:1');
	is("$answer->{sqlstate} $answer->{message} $answer->{detail} $answer->{hint}", 'XX777 not today The detail. The hint.', 'remembered whole');
};

behaviour 'a client that holds a lock the loader needs gets an error after max_wait, and later works' => sub {
	my $client = session($node, 'postgres');
	$session->run(q{SELECT setval('test.calls', 1, false)});
	$client->run(q{SET wbcache.max_wait = '700ms'; BEGIN; LOCK TABLE test.source});
	my $answer = $client->ask('locking:1');
	is($answer->{sqlstate}, 'WB003', 'SQLSTATE');
	is($answer->{message}, 'no answer from the loader within 700 ms', 'message');
	like($answer->{detail}, qr/^The fetch has been under way for \d+ ms\.$/, 'detail');
	like($answer->{hint}, qr/wbcache\.max_wait/, 'hint');
	cmp_ok($answer->{took}, '>=', 690, 'milliseconds it took, at least');
	cmp_ok($answer->{took}, '<', 2500, 'and at most');
	is($client->value('SELECT count(*) FROM test.source'), 1, 'its transaction goes on');
	$client->run('COMMIT');
	ok($session->ask_until('locking:1', 'hit'), 'the loader ends, and its value is cached');
	is($session->value('SELECT test.calls()'), 1, 'calls');
};

behaviour 'lock_timeout ends a loader that waits for a client, also when that client waits for it' => sub {
	$session->run(q{SELECT wbcache.alter_endpoint('locking', lock_timeout => '300 ms', error_ttl => '1 ms')});
	my $client = session($node, 'postgres');
	$client->run(q{SET wbcache.max_wait = '30s'; BEGIN; LOCK TABLE test.source});
	my $answer = $client->ask('locking:2');
	is($answer->{sqlstate}, '55P03', 'SQLSTATE');
	is($answer->{message}, 'canceling statement due to lock timeout', 'message');
	cmp_ok($answer->{took}, '<', 5000, 'milliseconds it took');
	$client->run('ROLLBACK');
	ok($session->ask_until('locking:2', 'hit'), 'later it works');
};

behaviour 'with all loaders busy, others wait their turn, within max_wait' => sub {
	my $client = session($node, 'postgres');
	$session->run(q{SELECT wbcache.alter_endpoint('locking', lock_timeout => '1 min')});
	$client->run(q{BEGIN; LOCK TABLE test.source});
	my @busy = map { session($node, 'postgres') } 1, 2;
	$_->run(q{SET wbcache.max_wait = '30s'}) for @busy;
	$busy[$_]->begin_ask("locking:busy$_") for 0, 1;
	ok(await_value($session, q{SELECT max(flights_under_way) FROM wbcache.stat_worker WHERE kind = 'loader'}, 2), 'both loaders are busy');
	$session->run(q{SET wbcache.max_wait = '300ms'});
	my $answer = $session->ask('slow:turn');
	is("$answer->{sqlstate}: $answer->{detail}", 'WB003: The fetch has not started yet.', 'a third key');
	is($session->ask('slow:1')->{status}, 'hit', 'what is cached is served');
	$session->run('RESET wbcache.max_wait');
	$client->run('ROLLBACK');
	is_deeply([ map { $_->end_ask->{value}[0] } @busy ], [ 'one', 'one' ], 'the two get their values');
	ok($session->ask_until('slow:turn', 'hit'), 'and so does the third');
};

done_testing();
