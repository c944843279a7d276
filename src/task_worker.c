/*-------------------------------------------------------------------------
 *
 * task_worker.c
 *	  The process of one run of a task.
 *
 * Layer 5.  It is connected as the task's owner, so that the function has the
 * rights of that role, the settings and temporary objects of a session of its
 * own, and nothing to leave behind; a procedure may commit as often as it likes.
 * It ends with the run.
 *
 *		1	take the task's lock, or leave it to whoever has it; and one of the
 *			places for runs at a time, or leave it for later
 *		2	write that the run has started
 *		3	call the function or procedure
 *		4	write how the run has ended
 *
 * each of 2 to 4 in a transaction of its own.  SIGTERM ends it at once, as it
 * ends a backend; then the row says "running", the lock is free, and the next
 * loader that looks marks the run as interrupted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "error.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "statement.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "task.h"
#include "task_clock.h"
#include "task_worker.h"
#include "tcop/tcopprot.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Longest text that is kept of what a function returns, in bytes. */
#define DETAIL_MAX	1000

/* What a function returns that has failed, and keeps what it has written. */
#define FAILED_PREFIX	"failed: "

/* How long the writing of a row may wait for whoever has it locked. */
#define LOCK_TIMEOUT	"60s"

typedef struct Run
{
	const WbcTaskOrder *order;
	char	   *function;		/* signature, in TopMemoryContext */
	int64		timeout;
	bool		started;
	WbcTaskResult result;
	char	   *detail;			/* or NULL; in TopMemoryContext */
} Run;

/* ----------------------------------------------------------------
 * The row
 * ----------------------------------------------------------------
 */

static void
set_for_session(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_USERSET, PGC_S_SESSION);
}

static void
begin_run(void *arg)
{
	Run		   *run = arg;
	const char *name = NameStr(run->order->name);
	WbcStatementScope scope;
	WbcTask		task;

	if (!wbc_task_try_lock(name, true))
		return;
	wbc_statement_begin("task", &scope);
	if (run->order->by_clock && !wbc_task_try_place())
		wbc_task_mark_due(name, GetCurrentTimestamp());
	else
		run->started = wbc_task_find(name, &task) &&
			wbc_task_mark_started(run->order, GetCurrentTimestamp());
	if (run->started)
	{
		run->function = MemoryContextStrdup(TopMemoryContext, task.function);
		run->timeout = task.timeout;
	}
	wbc_statement_end(&scope);
}

static void
end_run(void *arg)
{
	Run		   *run = arg;
	WbcStatementScope scope;

	if (!OidIsValid(wbc_statement_table("task")))
		return;
	wbc_statement_begin("task", &scope);
	wbc_task_mark_ended(NameStr(run->order->name), run->result, run->detail,
						GetCurrentTimestamp());
	wbc_statement_end(&scope);
	if (!run->order->by_clock)
		wbc_task_clock_look_at_commit();
}

static void
write_row(WbcStatementWork work, Run *run)
{
	WbcError	error;

	if (!wbc_statement_transaction(work, run, &error))
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("the run of task \"%s\" could not be recorded: %s",
						NameStr(run->order->name), error.message)));
}

/* ----------------------------------------------------------------
 * The function
 * ----------------------------------------------------------------
 */

/* Takes the first value of what a statement returns. */
typedef struct FirstValue
{
	DestReceiver receiver;
	char	   *text;			/* or NULL; in TopMemoryContext */
} FirstValue;

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	FirstValue *first = (FirstValue *) self;
	Oid			output;
	bool		varlena;
	bool		null;
	Datum		value = slot_getattr(slot, 1, &null);

	if (null || first->text != NULL)
		return true;
	getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, 0)->atttypid,
					  &output, &varlena);
	first->text = MemoryContextStrdup(TopMemoryContext,
									  OidOutputFunctionCall(output, value));
	return true;
}

static void
receiver_done(DestReceiver *self)
{
}

/*
 * The statement that calls a function or procedure of this signature.  Throws
 * when there is none any more.
 */
static char *
statement_of(const char *signature)
{
	Oid			function =
		DatumGetObjectId(DirectFunctionCall1(regprocedurein,
											 CStringGetDatum(signature)));

	return psprintf("%s %s", get_func_prokind(function) == PROKIND_PROCEDURE ?
					"CALL" : "SELECT", signature);
}

static void
fail(Run *run, int sqlstate, char *detail)
{
	run->result = WBC_TASK_FAILED;
	run->detail = detail;
	ereport(LOG,
			(errcode(sqlstate),
			 errmsg("task \"%s\" failed: %s",
					NameStr(run->order->name), detail)));
}

/*
 * The function has returned, and its transaction has committed.
 */
static void
take_result(Run *run, char *text)
{
	if (text != NULL &&
		strncmp(text, FAILED_PREFIX, strlen(FAILED_PREFIX)) == 0)
		fail(run, WBC_ERRCODE_TASK_FAILED, text + strlen(FAILED_PREFIX));
	else
	{
		run->result = WBC_TASK_SUCCEEDED;
		run->detail = text;
	}
}

/*
 * Calls the function within its time; fills in what has come of it.
 */
static void
call(Run *run)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "wbcache task",
												  ALLOCSET_DEFAULT_SIZES);
	FirstValue	first = {
		.receiver.receiveSlot = receive,
		.receiver.rStartup = receiver_startup,
		.receiver.rShutdown = receiver_done,
		.receiver.rDestroy = receiver_done,
		.receiver.mydest = DestNone
	};
	WbcError	error;

	PG_TRY();
	{
		char	   *statement;

		StartTransactionCommand();
		MemoryContextSwitchTo(context);
		statement = statement_of(run->function);
		pgstat_report_activity(STATE_RUNNING, statement);
		wbc_worker_begin_time_limit(run->timeout);
		wbc_statement_run(statement, &first.receiver);
		wbc_worker_end_time_limit();
		CommitTransactionCommand();
		take_result(run, first.text);
	}
	PG_CATCH();
	{
		wbc_worker_end_time_limit();
		MemoryContextSwitchTo(TopMemoryContext);
		wbc_error_catch(&error);
		AbortCurrentTransaction();
		fail(run, error.sqlstate, pstrdup(error.message));
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	if (run->detail != NULL)
		run->detail[pg_mbcliplen(run->detail, strlen(run->detail), DETAIL_MAX)] = '\0';
}

/*
 * The postmaster's entry; the order comes with the worker's arguments.
 */
void
wbc_task_main(Datum arg)
{
	WbcTaskOrder order;
	Run			run = {.order = &order};

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(order.dbid, order.owner, 0);
	wbc_worker_enter_task(order.dbid, GetCurrentTimestamp());
	MemoryContextSwitchTo(TopMemoryContext);

	set_for_session("lock_timeout", LOCK_TIMEOUT);
	write_row(begin_run, &run);
	if (!run.started)
		proc_exit(0);

	ResetAllOptions();
	call(&run);
	ResetAllOptions();
	set_for_session("lock_timeout", LOCK_TIMEOUT);
	write_row(end_run, &run);

	/* Who sees that the run has ended may start the next one. */
	LockReleaseSession(USER_LOCKMETHOD);
	proc_exit(0);
}
