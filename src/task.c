/*-------------------------------------------------------------------------
 *
 * task.c
 *	  Tasks: rows of wbcache.task, and what becomes of them.
 *
 * Layer 4.  A task is a function or procedure that is run now and then.  Each
 * run has a process of its own (task_worker.c), which is started by a loader
 * when the time has come (task_clock.c), or by run_task() for whoever calls it:
 * pg_cron too.
 *
 *		started		running		the row says so, the process holds the lock
 *		ended		succeeded, failed
 *		process gone	interrupted, marked by the next loader that looks
 *
 * The lock is an advisory lock of the session, in a class of its own that no
 * SQL function reaches.  It is what keeps two runs from overlapping, and it goes
 * with the process, however that ends: a row that says "running" while the lock
 * is free belongs to a run that was interrupted.  Only who holds the lock writes
 * what the last run has come to.
 *
 * All functions here need a transaction; those that read or write rows, SPI
 * connected by wbc_statement_begin().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "statement.h"
#include "storage/lock.h"
#include "task.h"
#include "ttl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Classes of our advisory locks; those of users have 1 or 2 here. */
#define LOCK_OF_TASK	3
#define LOCK_OF_PLACE	4

/* After one failure; it doubles with each, */
#define RETRY_FIRST	(10 * USECS_PER_SEC)

/* up to this, or the task's interval if that is longer. */
#define RETRY_MOST	(5 * USECS_PER_MINUTE)

/* Runs before their time are no closer than this. */
#define HURRY_INTERVAL	USECS_PER_SEC

#define COLUMNS \
	"name, owner, function, \"interval\", timeout, driver, cron_job," \
	" last_result, last_start, next_start, run_id, failures, xmin"

enum
{
	COLUMN_NAME = 1,
	COLUMN_OWNER,
	COLUMN_FUNCTION,
	COLUMN_INTERVAL,
	COLUMN_TIMEOUT,
	COLUMN_DRIVER,
	COLUMN_CRON_JOB,
	COLUMN_LAST_RESULT,
	COLUMN_LAST_START,
	COLUMN_NEXT_START,
	COLUMN_RUN_ID,
	COLUMN_FAILURES,
	COLUMN_XMIN
};

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

static Datum
column(uint64 row, int number, bool *null)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 number, null);
}

/* What a statement with COLUMNS has found. */
static void
take_row(uint64 row, WbcTask *task)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *result = SPI_getvalue(tuple, desc, COLUMN_LAST_RESULT);
	bool		null;
	Datum		value;

	task->name = *DatumGetName(column(row, COLUMN_NAME, &null));
	task->owner = DatumGetObjectId(column(row, COLUMN_OWNER, &null));
	task->function = SPI_getvalue(tuple, desc, COLUMN_FUNCTION);
	task->interval =
		wbc_ttl_from_interval(DatumGetIntervalP(column(row, COLUMN_INTERVAL, &null)),
							  "interval", 1, PG_INT64_MAX, "");
	task->timeout =
		wbc_ttl_from_interval(DatumGetIntervalP(column(row, COLUMN_TIMEOUT, &null)),
							  "timeout", 1, PG_INT64_MAX, "");
	task->by_worker =
		strcmp(SPI_getvalue(tuple, desc, COLUMN_DRIVER), "worker") == 0;
	value = column(row, COLUMN_CRON_JOB, &null);
	task->cron_job = null ? 0 : DatumGetInt64(value);
	task->running = result != NULL && strcmp(result, "running") == 0;
	value = column(row, COLUMN_LAST_START, &null);
	task->last_start = null ? 0 : DatumGetTimestampTz(value);
	value = column(row, COLUMN_NEXT_START, &null);
	task->next_start = null ? 0 : DatumGetTimestampTz(value);
	value = column(row, COLUMN_RUN_ID, &null);
	task->run_id = null ? 0 : DatumGetInt64(value);
	task->failures = DatumGetInt32(column(row, COLUMN_FAILURES, &null));
	task->uncommitted =
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(column(row, COLUMN_XMIN, &null)));
}

static const Oid name_type[1] = {NAMEOID};

static bool
find(const char *statement, const char *name, WbcTask *task)
{
	Datum		values[1] = {DirectFunctionCall1(namein, CStringGetDatum(name))};

	if (wbc_statement_execute(statement, 1, name_type, values, NULL) == 0)
		return false;
	take_row(0, task);
	return true;
}

/*
 * Reads the task of this name.  Returns false when there is none.  What it
 * points to lives until wbc_statement_end().
 */
bool
wbc_task_find(const char *name, WbcTask *task)
{
	return find("SELECT " COLUMNS " FROM wbcache.task"
				" WHERE name OPERATOR(pg_catalog.=) $1", name, task);
}

/*
 * Tasks whose rows say that they are running, or fewer.  Returns how many.
 */
int
wbc_task_list_running(WbcTask *tasks, int most)
{
	int			n;

	n = wbc_statement_execute("SELECT " COLUMNS " FROM wbcache.task"
							  " WHERE last_result OPERATOR(pg_catalog.=) 'running'",
							  0, NULL, NULL, NULL);
	n = Min(n, most);
	for (int i = 0; i < n; i++)
		take_row(i, &tasks[i]);
	return n;
}

/*
 * Claims tasks that are due for the worker and don't run, up to so many, for
 * whoever is going to start them now; those that don't get started are due again
 * at "again".  What is due later than its interval and its delays allow is due now: the clock
 * was set back.  Rows that somebody has locked are left for later.  Returns how
 * many.
 */
int
wbc_task_claim_due(WbcTask *tasks, int most, TimestampTz now,
				   TimestampTz again)
{
	static const Oid types[4] = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INTERVALOID};
	Datum		values[4] = {
		TimestampTzGetDatum(now), TimestampTzGetDatum(again),
		Int32GetDatum(most), wbc_ttl_as_interval(RETRY_MOST)
	};
	int			n;

	n = wbc_statement_execute("UPDATE wbcache.task SET next_start = $2"
							  " WHERE name OPERATOR(pg_catalog.=) ANY (ARRAY("
							  "SELECT name FROM wbcache.task"
							  " WHERE driver OPERATOR(pg_catalog.=) 'worker'"
							  " AND (next_start OPERATOR(pg_catalog.<=) $1"
							  " OR (next_start OPERATOR(pg_catalog.-) $1)"
							  " OPERATOR(pg_catalog.>) GREATEST(\"interval\", $4))"
							  " AND last_result IS DISTINCT FROM 'running'"
							  " ORDER BY next_start LIMIT $3"
							  " FOR UPDATE SKIP LOCKED))"
							  " RETURNING " COLUMNS,
							  4, types, values, NULL);
	for (int i = 0; i < n; i++)
		take_row(i, &tasks[i]);
	return n;
}

/*
 * When the next task that doesn't run is due for the worker; "never" when there
 * is none.
 */
TimestampTz
wbc_task_next_due(TimestampTz never)
{
	Datum		due;
	bool		null;

	(void) wbc_statement_execute("SELECT pg_catalog.min(next_start)"
								 " FROM wbcache.task"
								 " WHERE driver OPERATOR(pg_catalog.=) 'worker'"
								 " AND last_result IS DISTINCT FROM 'running'",
								 0, NULL, NULL, NULL);
	due = column(0, 1, &null);
	return null ? never : DatumGetTimestampTz(due);
}

/*
 * What the last run has said, in the same memory; NULL: nothing.
 */
char *
wbc_task_last_detail(const char *name)
{
	Datum		values[1] = {DirectFunctionCall1(namein, CStringGetDatum(name))};

	if (wbc_statement_execute("SELECT last_detail FROM wbcache.task"
							  " WHERE name OPERATOR(pg_catalog.=) $1",
							  1, name_type, values, NULL) == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* ----------------------------------------------------------------
 * The lock
 * ----------------------------------------------------------------
 */

static void
make_tag(const char *name, LOCKTAG *tag)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) name,
										   strlen(name), 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32),
						 (uint32) hash, LOCK_OF_TASK);
}

/*
 * Takes the lock, without waiting, until the end of the session or of the
 * transaction.  Returns false when somebody has it.
 */
bool
wbc_task_try_lock(const char *name, bool for_session)
{
	LOCKTAG		tag;

	make_tag(name, &tag);
	return LockAcquire(&tag, ExclusiveLock, for_session, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Takes one of the places that there are for runs at a time, until the end of
 * the session.
 */
bool
wbc_task_try_place(void)
{
	LOCKTAG		tag;

	for (int i = 0; i < WBC_TASK_RUNS_MAX; i++)
	{
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, i, LOCK_OF_PLACE);
		if (LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL)
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------
 * What becomes of a run.  Hold the lock.
 * ----------------------------------------------------------------
 */

/*
 * When a task is due after a run.  After a success, an interval after that run
 * has started, or at once if that is over.  After failures in a row, the delay
 * is 10 s, 20 s, 40 s and so on, up to 5 minutes or the interval, and never
 * longer than the interval for the first of them.
 */
static TimestampTz
next_start(int64 interval, int failures, TimestampTz started_at, TimestampTz now)
{
	int64		delay = Min(interval, RETRY_FIRST);
	int64		most = Max(interval, RETRY_MOST);

	if (failures == 0)
		return Max(started_at + interval, now);
	for (int i = 1; i < failures && delay < most; i++)
		delay *= 2;
	return now + Min(delay, most);
}

/*
 * A run begins.  Returns false when the task isn't there any more, or not its
 * owner's.
 */
bool
wbc_task_mark_started(const WbcTaskOrder *order, TimestampTz now)
{
	static const Oid types[4] = {NAMEOID, INT8OID, TIMESTAMPTZOID, OIDOID};
	Datum		values[4] = {
		NameGetDatum(&order->name), Int64GetDatum(order->run_id),
		TimestampTzGetDatum(now), ObjectIdGetDatum(order->owner)
	};

	return wbc_statement_execute("UPDATE wbcache.task SET last_start = $3,"
								 " last_end = NULL, last_result = 'running',"
								 " last_detail = NULL, run_id = $2,"
								 " runs = runs OPERATOR(pg_catalog.+) 1"
								 " WHERE name OPERATOR(pg_catalog.=) $1"
								 " AND owner OPERATOR(pg_catalog.=) $4",
								 4, types, values, NULL) > 0;
}

/*
 * Sets when a task is due.
 */
void
wbc_task_mark_due(const char *name, TimestampTz at)
{
	static const Oid types[2] = {NAMEOID, TIMESTAMPTZOID};
	Datum		values[2] = {
		DirectFunctionCall1(namein, CStringGetDatum(name)),
		TimestampTzGetDatum(at)
	};

	(void) wbc_statement_execute("UPDATE wbcache.task SET next_start = $2"
								 " WHERE name OPERATOR(pg_catalog.=) $1"
								 " AND driver OPERATOR(pg_catalog.=) 'worker'",
								 2, types, values, NULL);
}

/*
 * Has a task run before its time, unless it runs now, its last run has failed, or
 * somebody is about to change it.  Returns whether a run will begin once this
 * transaction has committed.
 */
bool
wbc_task_hurry(const char *name, TimestampTz now)
{
	WbcTask		task;
	TimestampTz at;

	if (!find("SELECT " COLUMNS " FROM wbcache.task"
			  " WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE SKIP LOCKED",
			  name, &task) ||
		!task.by_worker || task.running || task.failures > 0)
		return false;
	at = Max(now, task.last_start + HURRY_INTERVAL);
	if (at < task.next_start)
		wbc_task_mark_due(name, at);
	return true;
}

static const char *
result_label(WbcTaskResult result)
{
	switch (result)
	{
		case WBC_TASK_RUNNING:
			return "running";
		case WBC_TASK_SUCCEEDED:
			return "succeeded";
		case WBC_TASK_FAILED:
			return "failed";
		case WBC_TASK_INTERRUPTED:
			return "interrupted";
	}
	return NULL;				/* keep compiler quiet */
}

/*
 * A run has ended so.  detail: what it has returned, or its error; may be NULL.
 * The next start is worked out from the row as it is now: it may have been
 * changed during the run.
 */
void
wbc_task_mark_ended(const char *name, WbcTaskResult result, const char *detail,
					TimestampTz now)
{
	static const Oid types[6] = {
		NAMEOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID
	};
	Datum		values[6];
	char		nulls[6] = {' ', ' ', ' ', ' ', ' ', ' '};
	WbcTask		task;
	int			failures;

	if (!find("SELECT " COLUMNS " FROM wbcache.task"
			  " WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE", name, &task))
		return;

	failures = result == WBC_TASK_SUCCEEDED ? 0 : task.failures + 1;
	values[0] = NameGetDatum(&task.name);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(result_label(result));
	if (detail != NULL)
		values[3] = CStringGetTextDatum(detail);
	else
		nulls[3] = 'n';
	values[4] = Int32GetDatum(failures);
	values[5] = TimestampTzGetDatum(next_start(task.interval, failures,
											   task.last_start, now));
	(void) wbc_statement_execute("UPDATE wbcache.task SET last_end = $2,"
								 " last_result = $3, last_detail = $4,"
								 " failures = $5, next_start ="
								 " CASE WHEN driver OPERATOR(pg_catalog.=) 'worker' THEN $6 END"
								 " WHERE name OPERATOR(pg_catalog.=) $1",
								 6, types, values, nulls);
}

/* ----------------------------------------------------------------
 * Starting
 * ----------------------------------------------------------------
 */

int64
wbc_task_make_run_id(void)
{
	int64		id;

	if (!pg_strong_random(&id, sizeof(id)))
		id = GetCurrentTimestamp();
	return id;
}

/*
 * Starts the process of one run.  Returns NULL when no worker slot is free.  The
 * caller's latch is set when the process starts and when it ends.
 */
BackgroundWorkerHandle *
wbc_task_start(const WbcTask *task, int64 run_id, bool by_clock)
{
	BackgroundWorkerHandle *handle;
	WbcTaskOrder order = {
		.dbid = MyDatabaseId,
		.owner = task->owner,
		.run_id = run_id,
		.by_clock = by_clock,
		.name = task->name
	};
	BackgroundWorker worker = {
		.bgw_type = "wbcache task",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "wbcache",
		.bgw_function_name = "wbc_task_main",
		.bgw_notify_pid = MyProcPid
	};

	snprintf(worker.bgw_name, BGW_MAXLEN, "wbcache task %s",
			 NameStr(task->name));
	memcpy(worker.bgw_extra, &order, sizeof(order));
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}
