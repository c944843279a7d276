-- Tasks: what SQL shows of them. What their processes do is in test/t/160 and 161.
\pset null NULL
CREATE ROLE task_owner LOGIN;
CREATE ROLE task_other LOGIN;
CREATE ROLE task_nologin;
GRANT EXECUTE ON FUNCTION wbcache.schedule_task, wbcache.unschedule_task, wbcache.run_task, wbcache.schedule_with_cron,
  wbcache.schedule_with_worker TO task_owner, task_other, task_nologin;
GRANT USAGE ON SCHEMA test TO task_owner, task_other, task_nologin;
CREATE FUNCTION test.task_good() RETURNS text LANGUAGE sql AS $$ SELECT 'done by ' || current_user || ', ' || session_user $$;
CREATE FUNCTION test.task_bad() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'this can''t be done' USING ERRCODE = 'ZZ001'; END $$;
CREATE FUNCTION test.task_with_argument(int) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION test.task_private() RETURNS void LANGUAGE sql AS '';
REVOKE EXECUTE ON FUNCTION test.task_private FROM PUBLIC;
CREATE PROCEDURE test.task_procedure() LANGUAGE plpgsql AS $$ BEGIN COMMIT; COMMIT; END $$;

-- a run
SET ROLE task_owner;
SELECT wbcache.schedule_task('good', '1 h', 'test.task_good()');
RESET ROLE;
SELECT test.wait_until($$ (SELECT last_result = 'succeeded' FROM wbcache.task WHERE name = 'good') $$);
SELECT name, "interval", function, owner, timeout, driver, cron_schedule, cron_job, next_start - last_start AS until_next, last_end >= last_start AS ended,
       last_result, last_detail, failures, runs FROM wbcache.task;
SET ROLE task_owner;
SELECT wbcache.run_task('good');
SELECT wbcache.schedule_task('good', '2 h', 'test.task_good()', timeout => '5 s');
RESET ROLE;
SELECT test.wait_until($$ (SELECT runs = 3 AND last_result = 'succeeded' FROM wbcache.task WHERE name = 'good') $$);
SELECT "interval", timeout, next_start - last_start AS until_next FROM wbcache.task;

-- a failure
SELECT wbcache.schedule_task('bad', '1 h', 'test.task_bad()');
SELECT test.wait_until($$ (SELECT failures = 1 FROM wbcache.task WHERE name = 'bad') $$);
SELECT last_result, last_detail, runs, round(extract(epoch FROM next_start - last_end)) AS delay FROM wbcache.task WHERE name = 'bad';
SELECT wbcache.run_task('bad');
SELECT failures, runs, round(extract(epoch FROM next_start - last_end)) AS delay FROM wbcache.task WHERE name = 'bad';

-- a procedure that commits, one that is gone
SELECT wbcache.schedule_task('procedure', '1 h', 'test.task_procedure()');
SELECT test.wait_until($$ (SELECT last_result IS NOT NULL AND last_result <> 'running' FROM wbcache.task WHERE name = 'procedure') $$);
SELECT last_result, last_detail FROM wbcache.task WHERE name = 'procedure';
DROP PROCEDURE test.task_procedure;
SELECT wbcache.run_task('procedure');

-- bad input
SELECT wbcache.schedule_task('', '1 h', 'test.task_good()');
SELECT wbcache.schedule_task('x', '0', 'test.task_good()');
SELECT wbcache.schedule_task('x', '-1 h', 'test.task_good()');
SELECT wbcache.schedule_task('x', '367 days', 'test.task_good()');
SELECT wbcache.schedule_task('x', '1 h', 'test.task_good()', '0');
SELECT wbcache.schedule_task('x', '1 h', 'test.task_good()', '25 h');
SELECT wbcache.schedule_task('x', '1 h', 'test.no_such_function()');
SELECT wbcache.schedule_task('x', '1 h', 0);
SELECT wbcache.schedule_task('x', '1 h', 'test.task_with_argument(int)');
SELECT wbcache.schedule_task('x', '1 h', 'pg_catalog.sum(int)');
SELECT wbcache.schedule_task(NULL, '1 h', 'test.task_good()') IS NULL AS nothing;
SELECT wbcache.run_task('x');
SELECT wbcache.unschedule_task('x');
SELECT wbcache.schedule_with_worker('x');
SELECT wbcache.schedule_with_cron('x', '* * * * *');
SELECT wbcache.schedule_with_cron('good', '* * * * *');
SELECT count(*) FROM wbcache.task;

-- privileges
SET ROLE task_nologin;
SELECT wbcache.schedule_task('x', '1 h', 'test.task_good()');
SET ROLE task_owner;
SELECT wbcache.schedule_task('x', '1 h', 'test.task_private()');
SET ROLE task_other;
SELECT wbcache.schedule_task('good', '1 h', 'test.task_good()');
SELECT wbcache.unschedule_task('good');
SELECT wbcache.run_task('good');
SELECT wbcache.schedule_with_worker('good');
SELECT wbcache.schedule_with_cron('good', '* * * * *');
SELECT name FROM wbcache.task;
RESET ROLE;

-- whose owner was dropped
CREATE ROLE task_dropped LOGIN;
UPDATE wbcache.task SET owner = 'task_dropped' WHERE name = 'bad';
DROP ROLE task_dropped;
SELECT wbcache.schedule_task('bad', '1 h', 'test.task_good()');
SELECT owner = current_user::regrole AS mine FROM wbcache.task WHERE name = 'bad';

-- transactions
BEGIN;
SELECT wbcache.schedule_task('good', '3 h', 'test.task_good()');
SELECT wbcache.run_task('good');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT wbcache.run_task('good');
ROLLBACK;
BEGIN READ ONLY;
SELECT wbcache.schedule_task('good', '3 h', 'test.task_good()');
ROLLBACK;
SELECT "interval" FROM wbcache.task WHERE name = 'good';

SELECT wbcache.unschedule_task(name) FROM wbcache.task;
SELECT count(*) FROM wbcache.task;
DROP FUNCTION test.task_good, test.task_bad, test.task_with_argument, test.task_private;
DROP OWNED BY task_owner, task_other, task_nologin;
DROP ROLE task_owner, task_other, task_nologin;
