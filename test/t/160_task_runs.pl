# Tasks in processes of their own: no two runs of one overlap, a run that is cut off is marked as such, and nothing waits
# for them.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $node = start_instance('main', databases => 'postgres, other', conf => "restart_after_crash = on\nlog_min_messages = debug1");
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);

# A task that waits for the session that holds advisory lock 1, and leaves a row for each of its moments.
my $definitions = <<'END_SQL';
CREATE TABLE test.moment (pid int DEFAULT pg_backend_pid(), at timestamptz DEFAULT clock_timestamp(), what text);
CREATE PROCEDURE test.waiting() LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO test.moment (what) VALUES ('start');
  COMMIT;
  PERFORM pg_advisory_lock_shared(1);
  PERFORM pg_advisory_unlock_shared(1);
  INSERT INTO test.moment (what) VALUES ('end');
END $$;
CREATE PROCEDURE test.sleeping() LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO test.moment (what) VALUES ('start');
  COMMIT;
  PERFORM pg_sleep(200);
  INSERT INTO test.moment (what) VALUES ('end');
END $$;
CREATE FUNCTION test.failing() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'out of order'; END $$;
CREATE FUNCTION test.quick() RETURNS void LANGUAGE sql AS $$ INSERT INTO test.moment (what) VALUES ('quick') $$;
END_SQL
$session->run($definitions);

my $moments = q{SELECT string_agg(what, ',' ORDER BY at) FROM test.moment};

# Of the task "waiting", which is scheduled anew; its first run has started afterwards, and waits.
sub begin_run
{
	my ($procedure) = @_;
	$procedure ||= 'test.waiting()';
	$session->run('SELECT pg_advisory_lock(1)');
	$session->run(qq{DELETE FROM test.moment; SELECT wbcache.schedule_task('waiting', '1 h', '$procedure')});
	ok(await_value($session, $moments, 'start'), 'a run is under way');
	is(task('last_result, last_end IS NULL'), 'running|t', 'the row says so');
	return $session->value('SELECT pid FROM test.moment');
}

sub task
{
	my ($columns, $name) = @_;
	$name ||= 'waiting';
	return $session->value("SELECT $columns FROM wbcache.task WHERE name = '$name'");
}

sub task_is
{
	my ($columns, $expected, $what, $name) = @_;
	$name ||= 'waiting';
	return ok(await_value($session, "SELECT $columns FROM wbcache.task WHERE name = '$name'", $expected), $what);
}

sub connect_again
{
	$session = session($node, 'postgres');
	return;
}

behaviour 'two runs of a task never overlap, whoever starts them' => sub {
	my $pid = begin_run();
	my $other = session($node, 'postgres');
	my $log = log_size($node);
	like($other->error(q{SELECT wbcache.run_task('waiting') IS NULL AS skipped}), qr/NOTICE:.*task "waiting" is running already, skipping/, 'run_task');
	ok(await(sub { log_count($node, qr/background worker "wbcache task" \(PID \d+\) exited with exit code 0/, $log) == 1 }), 'leaves it');
	$session->run(q{SELECT wbcache.schedule_task('waiting', '1 s', 'test.waiting()')});
	ok(await_value($session, q{SELECT clock_timestamp() > next_start + interval '1 s' FROM wbcache.task}, 't'), 'it is due again');
	is($session->value($moments), 'start', 'the function was called once');
	is($session->value(q{SELECT string_agg(kind || ' ' || pid, ' ') FROM wbcache.stat_worker WHERE kind = 'task'}), "task $pid", 'stat_worker shows the run');
	$session->run('SELECT pg_advisory_unlock(1)');
	task_is(q{runs > 1 AND last_result = 'succeeded'}, 't', 'it ends');
	like($session->value($moments), qr/^start,end(,start,end)*(,start)?$/, 'and was never called in the middle of it');
	$session->run(q{SELECT wbcache.schedule_task('waiting', '1 h', 'test.waiting()')});
	task_is(q{last_result, next_start > now() + interval '10 min'}, 'succeeded|t', 'the last run ends');
	$session->run('DELETE FROM test.moment');
	$other->send(q{SELECT coalesce(wbcache.run_task('waiting'), 'skipped')});
	is(($other->receive)[0], '', 'now it can be run');
	is($session->value($moments), 'start,end', 'what it did');
};

behaviour 'loaders are free while tasks run' => sub {
	$session->run(<<'END_SQL');
CREATE FUNCTION test.load(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT '"loaded"'::json $$;
SELECT wbcache.create_endpoint('loaded', 'loaded:{id}', loader => 'test.load(text[])');
SELECT pg_advisory_lock(1);
SELECT wbcache.schedule_task('busy' || i, '1 h', 'test.waiting()') FROM generate_series(1, 6) i;
END_SQL
	my $running = q{SELECT count(*) FROM wbcache.task WHERE last_result = 'running'};
	ok(await_value($session, $running, 4), 'four of six tasks run');
	is($session->ask('loaded:1')->{value}, 'loaded', 'a loader is called');
	is($session->value($running), 4, 'still four');
	$session->run('SELECT pg_advisory_unlock(1)');
	ok(await_value($session, q{SELECT count(*) FROM wbcache.task WHERE name LIKE 'busy%' AND last_result = 'succeeded'}, 6), 'all six have had their turn');
	$session->run(q{SELECT wbcache.unschedule_task(name) FROM wbcache.task WHERE name LIKE 'busy%'});
};

behaviour 'a task that fails is tried again with a growing delay' => sub {
	my $log = log_size($node);
	$session->run(q{SELECT wbcache.schedule_task('failing', '1 s', 'test.failing()')});
	task_is('failures >= 3', 't', 'three failures', 'failing');
	is(task('last_result, last_detail', 'failing'), 'failed|out of order', 'result and detail');
	cmp_ok(task('extract(epoch FROM next_start - last_end)', 'failing'), '>=', 3.9, 'seconds until the next try');
	ok(await(sub { log_count($node, qr/LOG:  task "failing" failed: out of order/, $log) >= 3 }), 'the log says so');
	$session->run(q{CREATE OR REPLACE FUNCTION test.failing() RETURNS void LANGUAGE sql AS ''});
	task_is('failures, last_result', '0|succeeded', 'a success ends that', 'failing');
	cmp_ok(task('extract(epoch FROM next_start - last_start)', 'failing'), '<=', 1, 'seconds until the next start');
	$session->run(q{SELECT wbcache.unschedule_task('failing')});
};

behaviour 'a task that a clock set back has left for later than its interval runs now' => sub {
	$session->run(q{SELECT wbcache.schedule_task('early', '1 h', 'test.failing()')});
	task_is('last_result', 'succeeded', 'a run', 'early');
	$session->run(q{UPDATE wbcache.task SET next_start = now() + interval '61 min' WHERE name = 'early'});
	$session->run(q{SELECT wbcache.schedule_task('other', '1 h', 'test.failing()')});
	task_is(q{runs, next_start <= now() + interval '1 h'}, '2|t', 'another', 'early');
	$session->run(q{SELECT wbcache.unschedule_task(name) FROM wbcache.task WHERE name IN ('early', 'other')});
};

behaviour 'a task that says it failed keeps what it has written' => sub {
	$session->run(q{CREATE TABLE test.written (at timestamptz);
		CREATE FUNCTION test.partly() RETURNS text LANGUAGE sql AS $$INSERT INTO test.written VALUES (now()); SELECT 'failed: half of it'$$});
	$session->run(q{SELECT wbcache.schedule_task('partly', '1 h', 'test.partly()')});
	task_is('last_result, last_detail, failures', 'failed|half of it|1', 'result and detail', 'partly');
	is($session->value('SELECT count(*) FROM test.written'), 1, 'what it has written');
	$session->run(q{SELECT wbcache.unschedule_task('partly')});
};

behaviour 'a run that takes too long fails' => sub {
	$session->run('SELECT pg_advisory_lock(1)');
	like($session->error(q{SELECT wbcache.schedule_task('slow', '1 h', 'test.waiting()', '200 ms')}), qr/^$/, 'scheduled');
	task_is('last_result, last_detail', 'failed|canceling statement due to statement timeout', 'result', 'slow');
	$session->run(q{SELECT pg_advisory_unlock(1), wbcache.unschedule_task('slow')});
};

behaviour 'pg_terminate_backend of a run: interrupted, and tried again' => sub {
	my $pid = begin_run();
	$session->run("SELECT pg_terminate_backend($pid)");
	task_is('last_result, last_detail, failures', 'interrupted|its process has ended in the middle|1', 'the row says so');
	is(task('last_end >= last_start AND next_start > last_end'), 't', 'its times');
	$session->run('SELECT pg_advisory_unlock(1)');
	task_is('last_result, failures', 'succeeded|0', 'the next try');
};

behaviour 'a shutdown in the middle of a run is prompt, and the row is truthful' => sub {
	begin_run('test.sleeping()');
	my $started = time();
	undef $session;
	$node->stop('fast');
	cmp_ok(time() - $started, '<', 10, 'seconds that the shutdown took');
	$node->start;
	connect_again();
	task_is('last_result', 'interrupted', 'interrupted');
	$session->run(q{SELECT wbcache.unschedule_task('waiting')});
	is($session->value($moments), 'start', 'it had not ended');
};

behaviour 'so is an immediate one' => sub {
	begin_run('test.sleeping()');
	undef $session;
	$node->stop('immediate');
	$node->start;
	connect_again();
	task_is('last_result', 'interrupted', 'interrupted');
	task_is('last_result, runs', 'running|2', 'it is run again');
	$session->run(q{SELECT pg_terminate_backend(pid) FROM wbcache.stat_worker WHERE kind = 'task'});
};

behaviour 'kill -9 of a run' => sub {
	my $pid = begin_run();
	my $log = log_size($node);
	kill('KILL', $pid);
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $log);
	undef $session;
	$node->poll_query_until('postgres', 'SELECT true');
	connect_again();
	task_is('last_result', 'interrupted', 'interrupted');
	$session->run(q{SELECT wbcache.unschedule_task('waiting')});
};

behaviour 'a role that can not log in any more: its tasks fail, and are not started again and again' => sub {
	$session->run(<<'END_SQL');
CREATE ROLE owner LOGIN;
GRANT USAGE ON SCHEMA test TO owner;
GRANT INSERT ON test.moment TO owner;
GRANT EXECUTE ON FUNCTION wbcache.schedule_task TO owner;
SET ROLE owner;
SELECT wbcache.schedule_task('owned', '1 s', 'test.quick()');
RESET ROLE;
END_SQL
	task_is('last_result', 'succeeded', 'first it runs', 'owned');
	my $log = log_size($node);
	$session->run('ALTER ROLE owner NOLOGIN');
	task_is('failures >= 2', 't', 'then it fails', 'owned');
	is(task('last_result, last_detail', 'owned'), 'failed|its process could not start; the server log says why', 'result and detail');
	cmp_ok(log_count($node, qr/FATAL:  role "owner" is not permitted to log in/, $log), '<=', 4, 'lines in the log');
	$session->run(q{SELECT wbcache.unschedule_task('owned')});
};

behaviour 'a caller of run_task that is cancelled leaves the run to itself' => sub {
	my $other = session($node, 'postgres');
	begin_run();
	$session->run('SELECT pg_advisory_unlock(1)');
	task_is('last_result', 'succeeded', 'the first run ends');
	$session->run('SELECT pg_advisory_lock(1); DELETE FROM test.moment');
	$other->send(q{SELECT wbcache.run_task('waiting')});
	ok(await_value($session, $moments, 'start'), 'a run is under way');
	$session->run("SELECT pg_cancel_backend(${\ $other->pid })");
	like(($other->receive)[1], qr/canceling statement due to user request/, 'the caller is cancelled');
	is(task('last_result'), 'running', 'the run is not');
	$session->run('SELECT pg_advisory_unlock(1)');
	task_is('last_result', 'succeeded', 'and ends');
};

behaviour 'DROP EXTENSION in the middle of a run' => sub {
	my $log = log_size($node);
	begin_run();
	$session->run('DROP EXTENSION wbcache CASCADE');
	$session->run('SELECT pg_advisory_unlock(1)');
	ok(await_value($session, $moments, 'start,end'), 'the run ends');
	ok(await_value($session, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'wbcache task'}, 0), 'and its process');
	$session->run('CREATE EXTENSION wbcache');
	$session->run(q{SELECT wbcache.schedule_task('quick', '1 h', 'test.quick()')});
	task_is('last_result', 'succeeded', 'tasks run again', 'quick');
	is(log_count($node, qr/(ERROR|FATAL|PANIC):/, $log), 0, 'nothing in the log') or diag(log_since($node, $log));
};

behaviour 'DROP DATABASE in the middle of a run' => sub {
	$session->run('CREATE DATABASE other');
	$node->reload;
	my $other = session($node, 'other');
	$other->run('CREATE EXTENSION wbcache; CREATE SCHEMA test');
	$other->run($definitions);
	$other->run(q{SELECT pg_advisory_lock(1), wbcache.schedule_task('waiting', '1 h', 'test.waiting()')});
	ok(await_value($other, $moments, 'start'), 'a run is under way');
	undef $other;
	is($session->error('DROP DATABASE other'), '', 'it is dropped');
};

done_testing();
