# Loaders may end at any time, in the middle of a user's function too: who waits is answered by another one.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $node = start_instance('main', conf => 'restart_after_crash = on');
my $upstream = WbcacheTest::Upstream->start;
my $session = install($node, 'postgres', $upstream);

# A loader that waits for the session that holds advisory lock 1, and counts how often it was called.
my $definitions = <<'END_SQL';
CREATE SEQUENCE test.calls;
CREATE FUNCTION test.calls() RETURNS bigint LANGUAGE sql AS $$ SELECT last_value - 1 + is_called::int FROM test.calls $$;
CREATE FUNCTION test.waiting(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('test.calls');
  PERFORM pg_advisory_xact_lock_shared(1);
  RETURN json_build_object('pid', pg_backend_pid());
END $$;
END_SQL
my $endpoint = q{SELECT wbcache.create_endpoint('waiting', 'waiting:{id}', loader => 'test.waiting(text[])', soft_ttl => '1 h',
	lock_timeout => '1 min', statement_timeout => '1 min')};
$session->run("$definitions; $endpoint");

my $blocked = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};

sub loaders
{
	my ($n, $name) = @_;
	return ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader' AND state = 'running'
		AND started_at < clock_timestamp() - interval '1100 ms'}, $n), $name || 'loaders have run for a while');
}

sub set_loaders
{
	my ($n) = @_;
	$node->append_conf('postgresql.conf', "wbcache.loaders = $n");
	$node->reload;
	return;
}

behaviour 'SIGTERM of a loader in the middle of a load: waiters are answered by a retry' => sub {
	loaders(2);
	my @readers = map { session($node, 'postgres') } 1 .. 5;
	$_->run(q{SET wbcache.max_wait = '30s'}) for @readers;
	$session->run('SELECT pg_advisory_lock(1)');
	$_->begin_ask('waiting:term') for @readers;
	ok(await_value($session, $blocked, 1), 'one load is under way');
	my $pid = $session->value(q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
	kill('TERM', $pid);
	ok(await_value($session, q{SELECT test.calls()}, 2), 'it is started again');
	$session->run('SELECT pg_advisory_unlock(1)');
	my @answers = map { $_->end_ask } @readers;
	is(scalar(grep { $_->{value} && $_->{value}{pid} != $pid } @answers), 5, 'all have the value of another loader') or diag(explain(\@answers));
	is($session->value('SELECT test.calls()'), 2, 'calls');
	is($session->value('SELECT waiters, pending_keys FROM wbcache.stat_coalescer'), '0|0', 'nothing is left behind');
};

behaviour 'pg_cancel_backend of a loader is an error for its waiters, and the loader goes on' => sub {
	loaders(2);
	my $reader = session($node, 'postgres');
	$session->run(q{SELECT setval('test.calls', 1, false)});
	$reader->run(q{SET wbcache.max_wait = '30s'});
	$session->run('SELECT pg_advisory_lock(1)');
	$reader->begin_ask('waiting:cancel');
	ok(await_value($session, $blocked, 1), 'a load is under way');
	$session->run(q{SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
	$session->run('SELECT pg_advisory_unlock(1)');
	like($reader->end_ask->{psql}, qr/ERROR:  57014: canceling statement due to user request/, 'error');
	ok(await(sub { $session->error(q{SELECT wbcache.get('waiting:cancel')}) eq '' }), 'later it works');
};

behaviour 'wbcache.loaders = 0: an error at once, also for who waits already, and nothing is lost' => sub {
	$session->run(q{SELECT wbcache.set('waiting:stale', '"set"', soft_ttl => '1 us', hard_ttl => '1 h')});
	my @waiting = map { session($node, 'postgres') } 1 .. 3;
	$_->run(q{SET wbcache.max_wait = '50s'}) for @waiting, $session;
	$session->run('SELECT pg_advisory_lock(1)');
	$waiting[$_]->begin_ask("waiting:asked$_") for 0 .. 2;
	ok(await_value($session, $blocked, 2), 'two loads are under way');
	ok(await_value($session, q{SELECT pending_keys FROM wbcache.stat_coalescer}, 3), 'and a third is queued');
	set_loaders(0);
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader'}, 0), 'they end, and leave no row behind')
	  or diag($session->value(q{SELECT * FROM wbcache.stat_worker}));
	is(join(' ', map { $_->end_ask->{sqlstate} } @waiting), 'WB004 WB004 WB004', 'who waits has an error');
	$session->run('SELECT pg_advisory_unlock(1)');
	my $answer = $session->ask('waiting:none');
	is("$answer->{sqlstate} $answer->{message}", 'WB004 no process runs SQL loaders in this database', 'error');
	is($answer->{hint}, 'Set wbcache.loaders above 0 and reload the configuration.', 'hint');
	cmp_ok($answer->{took}, '<', 5000, 'milliseconds it took');
	is($session->ask('waiting:term')->{status}, 'hit', 'what is cached is served');
	$answer = $session->ask('waiting:stale');
	is("$answer->{status}: $answer->{detail}", 'stale: memory tier; no refresh: no process runs SQL loaders', 'stale too');
	is($session->value('SELECT pending_keys FROM wbcache.stat_coalescer'), 0, 'no flight waits for nobody');
	$session->run('RESET wbcache.max_wait');
	set_loaders(1);
	ok($session->ask_until('waiting:none', 'hit'), 'one is enough');
	set_loaders(2);
	loaders(2, 'and two again');
};

behaviour 'fewer loaders than are busy: a load under way is done again by who stays' => sub {
	$session->run('SELECT pg_advisory_lock(1)');
	my @readers = map { session($node, 'postgres') } 1 .. 2;
	$_->run(q{SET wbcache.max_wait = '30s'}) for @readers;
	$readers[$_]->begin_ask("waiting:less$_") for 0, 1;
	ok(await_value($session, $blocked, 2), 'both are busy');
	set_loaders(1);
	ok(await_value($session, q{SELECT count(*) FROM wbcache.stat_worker WHERE kind = 'loader' AND state = 'running'}, 1), 'one ends');
	$session->run('SELECT pg_advisory_unlock(1)');
	is(scalar(grep { $_->end_ask->{value} } @readers), 2, 'both readers are answered');
	set_loaders(2);
	loaders(2, 'two again');
};

behaviour 'DROP EXTENSION and CREATE EXTENSION while a load is under way' => sub {
	my $reader = session($node, 'postgres');
	$reader->run(q{SET wbcache.max_wait = '10s'});
	$session->run('SELECT pg_advisory_lock(1)');
	$reader->send(q{SELECT wbcache.get('waiting:drop') ->> 'pid'});
	ok(await_value($session, $blocked, 1), 'a load is under way');
	my $pid = $session->value(q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
	unlike($session->error('DROP EXTENSION wbcache CASCADE'), qr/ERROR/, 'DROP EXTENSION does not wait');
	$session->run('SELECT pg_advisory_unlock(1)');
	is_deeply([ $reader->receive ], [ $pid, '' ], 'the reader gets what it brings');
	$session->run("CREATE EXTENSION wbcache; $endpoint");
	$session->run(q{SET wbcache.max_wait = '10s'});
	is($session->ask('waiting:drop')->{status}, 'miss', 'the new one serves, and not what the old one had');
	is($session->ask('waiting:drop')->{status}, 'hit', 'and caches');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.entry WHERE key = 'waiting:drop'}, 1), 'in the new table, too');
};

behaviour 'DROP DATABASE with loaders' => sub {
	$session->run('CREATE DATABASE other');
	$node->append_conf('postgresql.conf', q{wbcache.databases = 'postgres, other'});
	$node->reload;
	my $other = install($node, 'other', $upstream);
	$other->run("$definitions; $endpoint");
	$other->run(q{SET wbcache.max_wait = '30s'});
	is($other->ask('waiting:1')->{status}, 'miss', 'another database is served');
	ok(await_value($other, q{SELECT count(*) FROM wbcache.entry}, 1), 'and its table written');
	$other->close;
	ok(await_value($session, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND backend_type = 'client backend'}, 0),
		'no client is left');
	my $started = time();
	is($session->error('DROP DATABASE other'), '', 'DROP DATABASE without FORCE');
	cmp_ok(time() - $started, '<', 5, 'seconds');
	is($session->ask('waiting:afterwards')->{status}, 'miss', 'the first one is served');
};

behaviour 'kill -9 of a loader restarts the server, which serves again' => sub {
	loaders(2);
	my $waiting = session($node, 'postgres');
	$session->run('SELECT pg_advisory_lock(1)');
	$waiting->begin_ask('waiting:kill');
	ok(await_value($session, $blocked, 1), 'a load is under way');
	my $pid = $session->value(q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
	kill('KILL', $pid);
	undef $waiting;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM wbcache.stat_worker WHERE kind = 'loader' AND state = 'running'}),
		'loaders run again');
	$session = session($node, 'postgres');
	is($session->value('SELECT count(*) FROM wbcache.entry'), 0, 'the table is empty');
	is($session->ask('waiting:term')->{status}, 'miss', 'and so is the memory');
	is($session->ask('waiting:kill')->{status}, 'miss', 'what was under way can be loaded');
};

behaviour 'a fast shutdown in the middle of a load is prompt' => sub {
	my $holder = session($node, 'postgres');
	my $reader = session($node, 'postgres');
	$holder->run('SELECT pg_advisory_lock(1)');
	$reader->begin_ask('waiting:shutdown');
	ok(await_value($session, $blocked, 1), 'a load is under way');
	my $started = time();
	$node->stop('fast');
	cmp_ok(time() - $started, '<', 5, 'seconds');
	undef $_ for $holder, $reader, $session;
	$node->start;
	$session = session($node, 'postgres');
	like($session->ask('waiting:shutdown')->{status}, qr{^(?:miss|hit)$}, 'the server serves again, what was loaded in the last moment too');
};

behaviour 'a loader that goes on when its time is over: its process is ended, and others go on' => sub {
	my $log = log_size($node);

	set_loaders(1);
	loaders(1, 'one loader');
	$session->run(<<'END_SQL');
CREATE FUNCTION test.stubborn(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    BEGIN
      PERFORM pg_sleep(60);
    EXCEPTION WHEN query_canceled THEN
    END;
  END LOOP;
END $$;
SELECT wbcache.create_endpoint('stubborn', 'stubborn:{id}', loader => 'test.stubborn(text[])', statement_timeout => '10 ms');
SET wbcache.max_wait = '1ms';
END_SQL
	is($session->ask('stubborn:1')->{sqlstate}, 'WB003', 'a reader does not wait for it');
	$session->run(q{SET wbcache.max_wait = '60s'});
	ok($node->wait_for_log(qr/LOG:  a function went on for 5 s after its time was over; its process was ended/, $log), 'the log says so');
	is($session->ask('waiting:after')->{status}, 'miss', 'another key is loaded');
	$session->run(q{SELECT wbcache.drop_endpoint('stubborn')});
	set_loaders(2);
};

behaviour 'a task starts while all loaders are busy all the time' => sub {
	set_loaders(1);
	loaders(1, 'one loader');
	$session->run(<<'END_SQL');
CREATE FUNCTION test.slow(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json FROM pg_sleep(0.1) $$;
CREATE FUNCTION test.task() RETURNS void LANGUAGE sql AS '';
SELECT wbcache.create_endpoint('slow', 'slow:{id}', loader => 'test.slow(text[])', soft_ttl => '1 h');
SET wbcache.max_wait = '1ms';
SELECT count(*) FROM wbcache.get_many(ARRAY(SELECT 'slow:' || i FROM generate_series(1, 200) i));
SELECT wbcache.schedule_task('task', '1 h', 'test.task()');
END_SQL
	ok(await_value($session, q{SELECT runs FROM wbcache.task}, 1), 'it has run');
	cmp_ok($session->stat('stat_coalescer', 'pending_keys'), '>', 0, 'before the loads were through');
	$session->run(q{RESET wbcache.max_wait; SELECT wbcache.drop_endpoint('slow'), wbcache.unschedule_task('task')});
	set_loaders(2);
};

done_testing();
