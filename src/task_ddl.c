/*-------------------------------------------------------------------------
 *
 * task_ddl.c
 *	  The SQL functions of tasks: schedule_task, unschedule_task,
 *	  schedule_with_cron, schedule_with_worker, run_task.
 *
 * Layer 4.  They see to privileges and bad input; rows are written as the owner
 * of the table.  A change makes the loaders look when it commits.
 *
 * pg_cron is called through its SQL functions, as the calling role: its job is
 * that role's, and does no more than to call run_task().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "call.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "shmem.h"
#include "statement.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "task.h"
#include "task_clock.h"
#include "ttl.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define INTERVAL_MAX	(366 * USECS_PER_DAY)
#define TIMEOUT_MAX		USECS_PER_DAY

/* What run_task() allows a process beyond the task's timeout. */
#define START_AND_END	(30 * USECS_PER_SEC)

PG_FUNCTION_INFO_V1(wbcache_schedule_task);
PG_FUNCTION_INFO_V1(wbcache_unschedule_task);
PG_FUNCTION_INFO_V1(wbcache_schedule_with_cron);
PG_FUNCTION_INFO_V1(wbcache_schedule_with_worker);
PG_FUNCTION_INFO_V1(wbcache_run_task);

/* ----------------------------------------------------------------
 * What they have in common
 * ----------------------------------------------------------------
 */

static void
check_owner(const WbcTask *task)
{
	if (!has_privs_of_role(GetUserId(), task->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of task \"%s\"", NameStr(task->name)),
				 errhint("Ask its owner, or a superuser, to do it.")));
}

/*
 * Reads the task of this name, which must be the caller's.  Returns false when
 * there is none.
 */
static bool
find_own(const char *name, WbcTask *task)
{
	MemoryContext caller = CurrentMemoryContext;
	WbcStatementScope scope;
	bool		found;

	wbc_statement_begin("task", &scope);
	found = wbc_task_find(name, task);
	if (found)
		task->function = MemoryContextStrdup(caller, task->function);
	wbc_statement_end(&scope);

	if (found)
		check_owner(task);
	return found;
}

static void
require_own(const char *name, WbcTask *task)
{
	if (!find_own(name, task))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("task \"%s\" does not exist", name),
				 errhint("Look into wbcache.task, or make it with wbcache.schedule_task().")));
}

/* Writes one row, and has the loaders look at commit. */
static void
write_row(const char *statement, int nparams, const Oid *types,
		  const Datum *values, const char *nulls)
{
	WbcStatementScope scope;

	wbc_statement_begin("task", &scope);
	(void) wbc_statement_execute(statement, nparams, types, values, nulls);
	wbc_statement_end(&scope);
	wbc_task_clock_look_at_commit();
}

/* ----------------------------------------------------------------
 * schedule_task, unschedule_task
 * ----------------------------------------------------------------
 */

/*
 * Throws unless the role can have tasks: their processes log in as it.
 */
static void
check_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_login;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for role %u", role);
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);

	if (!can_login)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" cannot own tasks, since it cannot log in",
						GetUserNameFromId(role, false)),
				 errhint("Schedule the task as another role, or give this one LOGIN.")));
}

static void
check_function(Oid function, Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	const char *fault = NULL;
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function),
				 errhint("Name a function, such as 'public.refresh()'.")));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION && proc->prokind != PROKIND_PROCEDURE)
		fault = "is neither a function nor a procedure";
	else if (proc->pronargs != 0)
		fault = "takes arguments";
	ReleaseSysCache(tuple);

	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s %s", format_procedure(function), fault),
				 errhint("Name a function or procedure without arguments.")));
	wbc_call_check_right(function, owner);
}

/*
 * schedule_task(name, every, function, timeout).  A task that is replaced keeps
 * its owner, unless that role was dropped.
 */
Datum
wbcache_schedule_task(PG_FUNCTION_ARGS)
{
	static const Oid types[5] = {NAMEOID, INTERVALOID, TEXTOID, REGROLEOID, INTERVALOID};
	Oid			function = PG_GETARG_OID(2);
	Datum		values[5];
	WbcTask		task;
	Oid			owner;

	PreventCommandIfReadOnly("wbcache.schedule_task()");
	if (NameStr(*PG_GETARG_NAME(0))[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of the task is empty"),
				 errhint("Give a name such as 'refresh_sidebar'.")));
	(void) wbc_ttl_from_interval(PG_GETARG_INTERVAL_P(1), "interval",
								 USECS_PER_SEC, INTERVAL_MAX,
								 "Give a time from 1 second to 366 days, such as '5 min'.");
	(void) wbc_ttl_from_interval(PG_GETARG_INTERVAL_P(3), "timeout",
								 1000, TIMEOUT_MAX,
								 "Give a time from 1 millisecond to 1 day, such as '10 min'.");
	owner = GetUserId();
	if (find_own(NameStr(*PG_GETARG_NAME(0)), &task) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(task.owner)))
		owner = task.owner;
	check_login(owner);
	check_function(function, owner);

	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = CStringGetTextDatum(format_procedure_qualified(function));
	values[3] = ObjectIdGetDatum(owner);
	values[4] = PG_GETARG_DATUM(3);
	write_row("INSERT INTO wbcache.task (name, \"interval\", function, owner,"
			  " timeout, next_start)"
			  " VALUES ($1, $2, $3, $4, $5, pg_catalog.now())"
			  " ON CONFLICT (name) DO UPDATE SET"
			  " \"interval\" = excluded.\"interval\","
			  " function = excluded.function, owner = excluded.owner,"
			  " timeout = excluded.timeout,"
			  " failures = 0,"
			  " next_start = CASE WHEN task.driver OPERATOR(pg_catalog.=) 'worker'"
			  " THEN excluded.next_start END",
			  5, types, values, NULL);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * pg_cron
 * ----------------------------------------------------------------
 */

static void
require_cron(const char *task)
{
	const char *database = GetConfigOption("cron.database_name", true, false);

	if (OidIsValid(get_extension_oid("pg_cron", true)))
		return;
	if (database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cron is not installed in this database"),
				 errhint("Add pg_cron to shared_preload_libraries, set cron.database_name, restart the server, and run CREATE EXTENSION pg_cron. Or leave the task to the worker.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pg_cron is not installed in this database"),
			 errdetail("It can be in database \"%s\" only (cron.database_name).",
					   database),
			 errhint("There, cron.schedule_in_database() can run: SELECT wbcache.run_task(%s)",
					 quote_literal_cstr(task))));
}

static char *
job_name(const char *task)
{
	return psprintf("wbcache task %s", task);
}

/*
 * Has pg_cron run the task; returns the number of the job.  A job of the same
 * name and user is replaced.
 */
static int64
add_job(const char *task, Datum schedule)
{
	static const Oid types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];
	bool		null;
	int64		job;

	values[0] = CStringGetTextDatum(job_name(task));
	values[1] = schedule;
	values[2] = CStringGetTextDatum(psprintf("SELECT wbcache.run_task(%s)",
											 quote_literal_cstr(task)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (wbc_statement_execute("SELECT cron.schedule($1, $2, $3)", 3, types,
							  values, NULL) != 1)
		elog(ERROR, "cron.schedule() has returned nothing");
	job = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &null));
	SPI_finish();
	return job;
}

/*
 * Takes the task's job away from pg_cron, if there is one, and if pg_cron is
 * still there.  A job that has gone meanwhile is what we want; another may have
 * its number by now, but not its name too.
 */
static void
remove_job(const WbcTask *task)
{
	static const Oid types[2] = {INT8OID, TEXTOID};
	Datum		values[2];

	if (task->cron_job == 0 || !OidIsValid(get_extension_oid("pg_cron", true)))
		return;
	values[0] = Int64GetDatum(task->cron_job);
	values[1] = CStringGetTextDatum(job_name(NameStr(task->name)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	(void) wbc_statement_execute("SELECT cron.unschedule(jobid) FROM cron.job"
								 " WHERE jobid OPERATOR(pg_catalog.=) $1"
								 " AND jobname OPERATOR(pg_catalog.=) $2",
								 2, types, values, NULL);
	SPI_finish();
}

/*
 * schedule_with_cron(task, schedule)
 */
Datum
wbcache_schedule_with_cron(PG_FUNCTION_ARGS)
{
	static const Oid types[3] = {NAMEOID, TEXTOID, INT8OID};
	char	   *name = NameStr(*PG_GETARG_NAME(0));
	WbcTask		task;
	Datum		values[3];

	PreventCommandIfReadOnly("wbcache.schedule_with_cron()");
	require_own(name, &task);
	require_cron(name);
	remove_job(&task);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = Int64GetDatum(add_job(name, PG_GETARG_DATUM(1)));
	write_row("UPDATE wbcache.task SET driver = 'cron', cron_schedule = $2,"
			  " cron_job = $3, next_start = NULL"
			  " WHERE name OPERATOR(pg_catalog.=) $1",
			  3, types, values, NULL);
	PG_RETURN_INT64(DatumGetInt64(values[2]));
}

/*
 * schedule_with_worker(task)
 */
Datum
wbcache_schedule_with_worker(PG_FUNCTION_ARGS)
{
	static const Oid types[1] = {NAMEOID};
	Datum		values[1] = {PG_GETARG_DATUM(0)};
	WbcTask		task;

	PreventCommandIfReadOnly("wbcache.schedule_with_worker()");
	require_own(NameStr(*PG_GETARG_NAME(0)), &task);
	remove_job(&task);
	write_row("UPDATE wbcache.task SET driver = 'worker', cron_schedule = NULL,"
			  " cron_job = NULL, next_start = pg_catalog.now()"
			  " WHERE name OPERATOR(pg_catalog.=) $1",
			  1, types, values, NULL);
	PG_RETURN_VOID();
}

/*
 * unschedule_task(name)
 */
Datum
wbcache_unschedule_task(PG_FUNCTION_ARGS)
{
	static const Oid types[1] = {NAMEOID};
	Datum		values[1] = {PG_GETARG_DATUM(0)};
	WbcTask		task;

	PreventCommandIfReadOnly("wbcache.unschedule_task()");
	require_own(NameStr(*PG_GETARG_NAME(0)), &task);
	remove_job(&task);
	write_row("DELETE FROM wbcache.task WHERE name OPERATOR(pg_catalog.=) $1",
			  1, types, values, NULL);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * run_task
 * ----------------------------------------------------------------
 */

/*
 * Waits for a task's process to end.  Returns false when it has not ended at the
 * deadline; a cancel throws, and leaves the process to itself.
 */
static bool
wait_for_end(BackgroundWorkerHandle *handle, TimestampTz deadline)
{
	pid_t		pid;

	while (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   deadline);

		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * What has become of a run that was asked for: NULL when there was none, because
 * another one was under way.
 */
static char *
outcome(const WbcTask *asked, int64 run_id)
{
	MemoryContext caller = CurrentMemoryContext;
	WbcStatementScope scope;
	WbcTask		task;
	char	   *detail = NULL;
	bool		ran;

	wbc_statement_begin("task", &scope);
	ran = wbc_task_find(NameStr(asked->name), &task) && task.run_id == run_id;
	if (ran)
		detail = wbc_task_last_detail(NameStr(asked->name));
	if (detail != NULL)
		detail = MemoryContextStrdup(caller, detail);
	wbc_statement_end(&scope);

	if (!ran)
		return NULL;
	if (task.running || task.failures > 0)
		ereport(ERROR,
				(errcode(WBC_ERRCODE_TASK_FAILED),
				 errmsg("task \"%s\" failed", NameStr(asked->name)),
				 detail != NULL ? errdetail_internal("%s", detail) :
				 errdetail("Its process has ended in the middle."),
				 errhint("Look into wbcache.task and the server log for the reason.")));
	return detail != NULL ? detail : "";
}

/*
 * run_task(name): its process does what it does; this one only waits.  Returns
 * what the function has returned; NULL, with a notice, when the task is running
 * already.
 */
Datum
wbcache_run_task(PG_FUNCTION_ARGS)
{
	char	   *name = NameStr(*PG_GETARG_NAME(0));
	int64		run_id = wbc_task_make_run_id();
	BackgroundWorkerHandle *handle;
	char	   *result;
	WbcTask		task;

	wbc_shmem_require();
	PreventCommandDuringRecovery("wbcache.run_task()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("wbcache.run_task() can't be called in a transaction that keeps its snapshot"),
				 errdetail("It could not see how the run has ended."),
				 errhint("Call it in a transaction of isolation level read committed.")));
	require_own(name, &task);
	if (task.uncommitted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task \"%s\" was changed by this transaction", name),
				 errdetail("Its process can't see that yet."),
				 errhint("Commit before running it.")));

	handle = wbc_task_start(&task, run_id, false);
	if (handle == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no worker slot is free for task \"%s\"", name),
				 errhint("Try again, or raise max_worker_processes and restart the server.")));
	if (!wait_for_end(handle, GetCurrentTimestamp() + task.timeout + START_AND_END))
		ereport(ERROR,
				(errcode(WBC_ERRCODE_WAIT_TIMEOUT),
				 errmsg("task \"%s\" has not ended in time", name),
				 errhint("Look into pg_stat_activity for its process.")));

	result = outcome(&task, run_id);
	if (result != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(result));
	ereport(NOTICE,
			(errmsg("task \"%s\" is running already, skipping", name)));
	PG_RETURN_NULL();
}
