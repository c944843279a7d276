# A task that pg_cron runs: the real one, preloaded beside wbcache.

use strict;
use warnings FATAL => 'all';

use Test::More;
use Time::HiRes qw(time);
use WbcacheTest;

my $node = start_instance('main', databases => 'postgres, other', start => 0);

# Debian has it for the PostgreSQL that Debian has.
plan skip_all => 'pg_cron is not installed for this PostgreSQL' unless -e $node->config_data('--sharedir') . '/extension/pg_cron.control';

$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'pg_cron, wbcache'
cron.database_name = 'postgres'
cron.host = '${\ $node->host }'
END
$node->start;
my $session = install($node, 'postgres', WbcacheTest::Upstream->start);
my $task = q{FROM wbcache.task WHERE name = 'note'};

$session->run(<<'END_SQL');
CREATE TABLE test.note (pid int DEFAULT pg_backend_pid(), at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION test.note() RETURNS text LANGUAGE sql AS $$ INSERT INTO test.note DEFAULT VALUES RETURNING 'noted' $$;
SELECT wbcache.schedule_task('note', '1 h', 'test.note()');
END_SQL
ok(await_value($session, "SELECT last_result $task", 'succeeded'), 'the worker runs it first');

behaviour 'without the extension pg_cron' => sub {
	like($session->error(q{SELECT wbcache.schedule_with_cron('note', '* * * * *')}),
		qr/ERROR:  55000: pg_cron is not installed in this database\nDETAIL:  It can be in database "postgres" only/, 'the error says where it can be');
	$session->run('CREATE EXTENSION pg_cron');
};

behaviour 'a schedule that pg_cron refuses leaves the task with the worker' => sub {
	like($session->error(q{SELECT wbcache.schedule_with_cron('note', '61 * * * *')}), qr/ERROR: .* invalid schedule: 61 \* \* \* \*/, 'error of pg_cron');
	like($session->error(q{SELECT wbcache.schedule_with_cron('note', '10 seconds')}), qr/ERROR: .* invalid schedule: 10 seconds/, 'it knows no seconds');
	is($session->value("SELECT driver, cron_schedule IS NULL, cron_job IS NULL, next_start > now() $task"), 'worker|t|t|t', 'the row');
	is($session->value('SELECT count(*) FROM cron.job'), 0, 'jobs of pg_cron');
};

behaviour 'pg_cron runs it' => sub {
	my $job = $session->value(q{SELECT wbcache.schedule_with_cron('note', '* * * * *')});
	is($session->value("SELECT driver, cron_schedule, cron_job, next_start IS NULL $task"), "cron|* * * * *|$job|t", 'the row');
	is($session->value('SELECT jobid, jobname, schedule, command FROM cron.job'),
		"$job|wbcache task note|* * * * *|SELECT wbcache.run_task('note')", 'the job');
	local $WbcacheTest::LIMIT = 90;
	ok(await_value($session, q{SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded'}, 't'), 'the job has run')
		or diag($session->value('SELECT status, return_message FROM cron.job_run_details'));
	is($session->value("SELECT last_result, last_detail, runs, next_start IS NULL $task"), 'succeeded|noted|2|t', 'the task too');
	is($session->value('SELECT count(*), count(DISTINCT pid) FROM test.note'), '2|2', 'what it did');
};

behaviour 'another schedule takes the place of the job' => sub {
	my $job = $session->value(q{SELECT wbcache.schedule_with_cron('note', '*/5 * * * *')});
	is($session->value('SELECT jobid, schedule FROM cron.job'), "$job|*/5 * * * *", 'the only job');
	is($session->value("SELECT cron_job, cron_schedule $task"), "$job|*/5 * * * *", 'the row');
};

behaviour 'schedule_task leaves it with pg_cron' => sub {
	$session->run(q{SELECT wbcache.schedule_task('note', '2 h', 'test.note()')});
	is($session->value("SELECT driver, next_start IS NULL, \"interval\" $task"), 'cron|t|02:00:00', 'the row');
};

behaviour 'taken back, the worker runs it' => sub {
	$session->run(q{SELECT wbcache.schedule_with_worker('note')});
	is($session->value('SELECT count(*) FROM cron.job'), 0, 'jobs of pg_cron');
	ok(await_value($session, "SELECT driver, runs, last_result $task", 'worker|3|succeeded'), 'the worker runs it');
};

behaviour 'a job that was removed by hand is no obstacle, and health() says so' => sub {
	my $said = q{SELECT message FROM wbcache.health_reasons WHERE code = 'task_without_job'};

	$session->run(q{SELECT wbcache.schedule_with_cron('note', '0 0 1 1 *')});
	is($session->value($said), '', 'nothing to say');
	$session->run(q{SELECT cron.alter_job(jobid, active => false) FROM cron.job});
	is($session->value($said), 'pg_cron does not run task "note": its job is not active', 'not active');
	$session->run(q{SELECT cron.unschedule(jobid) FROM cron.job});
	is($session->value($said), 'pg_cron does not run task "note": its job is gone', 'gone');
	$session->run(q{SELECT wbcache.schedule_with_worker('note')});
	is($session->value("SELECT driver $task"), 'worker', 'the row');
	is($session->value($said), '', 'nothing to say again');
};

behaviour 'another job that has its number by now is left alone' => sub {
	$session->run(q{SELECT wbcache.schedule_with_cron('note', '0 0 1 1 *'); SELECT cron.unschedule(jobid) FROM cron.job});
	$session->run(q{UPDATE wbcache.task SET cron_job = cron.schedule('mine', '0 0 1 1 *', 'SELECT 1') WHERE name = 'note'});
	$session->run(q{SELECT wbcache.schedule_with_worker('note')});
	is($session->value('SELECT jobname FROM cron.job'), 'mine', 'the job');
	$session->run('SELECT cron.unschedule(jobid) FROM cron.job');
};

behaviour 'unschedule_task removes the job' => sub {
	$session->run(q{SELECT wbcache.schedule_with_cron('note', '* * * * *'); SELECT wbcache.unschedule_task('note')});
	is($session->value('SELECT count(*) FROM cron.job'), 0, 'jobs of pg_cron');
	is($session->value('SELECT count(*) FROM wbcache.task'), 0, 'tasks');
};

behaviour "the sidebar's refresh by pg_cron, of a role that is no superuser" => sub {
	$session->run(<<'END_SQL');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA cron TO app;
GRANT EXECUTE ON FUNCTION wbcache.bind_events, wbcache.unbind_events, wbcache.schedule_with_cron, wbcache.run_task TO app;
CREATE SCHEMA app AUTHORIZATION app;
SET SESSION AUTHORIZATION app;
CREATE TABLE app.event (id int, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('app.event', 'id', 'sport', 'league', 'status', 'starts');
RESET SESSION AUTHORIZATION;
END_SQL
	ok(await_value($session, q{SELECT last_result FROM wbcache.task}, 'succeeded'), 'the worker runs it first');
	$session->run('SET SESSION AUTHORIZATION app');
	my $job = $session->value(q{SELECT wbcache.schedule_with_cron('sidebar_refresh', '*/5 * * * *')});
	$session->run('INSERT INTO app.event VALUES (1)');
	like($session->value(q{SELECT wbcache.run_task('sidebar_refresh')}), qr/^refreshed: 1 rows, 1 games/, 'as the job does it');
	$session->run(q{SELECT wbcache.bind_events('app.event', 'id', 'sport', 'league', 'status', 'starts')});
	$session->run('RESET SESSION AUTHORIZATION');
	is($session->value(q{SELECT driver, owner FROM wbcache.task}), 'cron|app', 'bound again, it stays with pg_cron');
	is($session->value('SELECT jobid, username FROM cron.job'), "$job|app", 'the job');
	$session->run(q{SET SESSION AUTHORIZATION app; SELECT wbcache.unbind_events('app.event'); RESET SESSION AUTHORIZATION});
	is($session->value('SELECT count(*) FROM cron.job'), 0, 'unbound: jobs of pg_cron');
	is($session->value('SELECT count(*) FROM wbcache.task'), 0, 'tasks');
};

behaviour 'without pg_cron again, a task that it had can be taken back' => sub {
	$session->run(q{SELECT wbcache.schedule_task('note', '1 h', 'test.note()'); SELECT wbcache.schedule_with_cron('note', '* * * * *')});
	$session->run('DROP EXTENSION pg_cron');
	$session->run(q{SELECT wbcache.schedule_with_worker('note')});
	ok(await_value($session, "SELECT driver, last_result $task", 'worker|succeeded'), 'the worker runs it');
};

done_testing();
