/*-------------------------------------------------------------------------
 *
 * warmer.c
 *	  One run of the warmer: the procedure wbcache.warm_upcoming.
 *
 * Layer 4.  Called by the task "warmer".  A run has a queue of jobs, each a key,
 * in order of the games' priority: first one for each game's categories; when
 * these have come, the keys of its props take their place.  A window of jobs is
 * under way at a time.
 *
 *		plan		which games (warmer_queue.c)
 *		turn		start jobs until the window is full; write the log; commit;
 *					wait for the flight that was started first; take its value
 *
 * It waits outside of any snapshot: after the commit, with nothing but the
 * references to its flights, which it gives back at its end, by error too.  All
 * flights are in advance (flight.c): they give way to those of clients.
 *
 * A run starts no more than wbcache.warmer_budget flights, and none once it has
 * taken its task's interval.  Where the upstream is not asked now (breaker, rate
 * limit), the run rests, and tries the same key again.  Keys whose values are
 * there cost no budget; they too are put on the list of ahead.c again.
 *
 * A session lock keeps two runs from overlapping, also where somebody calls the
 * procedure himself.  The run is the only one that writes the state of its
 * database (warmer_state.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "ahead.h"
#include "compat.h"
#include "executor/spi.h"
#include "flight.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "shmem.h"
#include "statement.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "swr.h"
#include "task.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "warmer.h"
#include "warmer_state.h"
#include "worker.h"

/* Class of our advisory lock; task.c has 3 and 4, sidebar_refresh.c 5. */
#define LOCK_OF_WARMER	6

/* Jobs under way at a time. */
#define WINDOW		8

/* Jobs started, rows written, from one commit to the next. */
#define TURN_MAX	64

/* Where there is no task to say it. */
#define INTERVAL	(5 * USECS_PER_MINUTE)

/* Places that are multiples of it, modulo 1, come near every place soon. */
#define GOLDEN_SECTION	0.618

/* Before the upstream is tried again that is not asked now. */
#define REST		(USECS_PER_SEC / 2)

PG_FUNCTION_INFO_V1(wbcache_warm_upcoming);

typedef struct Flying
{
	WbcWarmerJob *job;			/* NULL: free */
	WbcRead		read;
	const char *result;			/* if it brings a value */
} Flying;

typedef struct Run
{
	MemoryContext context;		/* lives as long as the run */
	MemoryContext turn;			/* a turn */
	TimestampTz started;
	TimestampTz until;			/* no job is started later */
	TimestampTz rest_until;
	int64		interval;
	int			budget;			/* flights that may still be started */
	int			failed;			/* flights in a row, but for those refused */
	bool		refused;		/* the last one that has landed was */
	int			expected;		/* of them, for props of the categories that
								 * are under way */
	WbcWarmerQueue queue;
	Flying		window[WINDOW];	/* in the order of their start, from "first" */
	int			first;
	int			nflying;
	List	   *log;			/* of WbcWarmLog, to be written */
	WbcWarmerCounts counts;
	const char *error;			/* the last one */
} Run;

/* ----------------------------------------------------------------
 * The plan
 * ----------------------------------------------------------------
 */

static void
plan(Run *run)
{
	int			unusable = 0;

	if (!wbc_warmer_plan(&run->queue, &unusable))
		run->error = "no table of events is bound";
	else if (unusable > 0)
		run->error = "the id of a fixture can't be a part of a key";
	run->counts.errors += unusable;
}

/*
 * From one run to the next, in microseconds.
 */
static int64
read_interval(void)
{
	WbcStatementScope scope;
	WbcTask		task;
	int64		interval;

	PushActiveSnapshot(GetTransactionSnapshot());
	wbc_statement_begin("task", &scope);
	interval = wbc_task_find(WBC_WARMER_TASK, &task) ? task.interval : INTERVAL;
	wbc_statement_end(&scope);
	PopActiveSnapshot();
	return interval;
}

/* ----------------------------------------------------------------
 * What comes of a job
 * ----------------------------------------------------------------
 */

static void
note(Run *run, const WbcWarmerJob *job, const char *result, int64 took)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	WbcWarmLog *row = palloc(sizeof(WbcWarmLog));

	row->at = GetCurrentTimestamp();
	row->fixture = job->game->id;
	row->key = job->key;
	row->priority = job->game->priority;
	row->ms = took / 1000.0;
	row->result = result;
	run->log = lappend(run->log, row);
	MemoryContextSwitchTo(caller);
}

static void
note_error(Run *run, const WbcWarmerJob *job, const char *message, int64 took)
{
	run->counts.errors++;
	run->error = MemoryContextStrdup(run->context, message);
	note(run, job, MemoryContextStrdup(run->context, psprintf("failed: %s", message)),
		 took);
}

/*
 * The key's value is there.
 */
static void
take_value(Run *run, const WbcWarmerJob *job, const WbcRead *read, const char *result,
		   int64 took)
{
	(void) wbc_ahead_add(&read->key, job->game->group, job->game->priority,
						 run->started + 2 * run->interval,
						 job->is_categories ? read->value : NULL);
	if (!job->is_categories)
		run->counts.props_cached++;
	else if (wbc_warmer_add_props(&run->queue, job->game, read->value))
	{
		run->counts.categories_cached++;
		run->counts.fixtures_warmed++;
	}
	else
	{
		note_error(run, job, "categories in an unexpected shape", took);
		return;
	}
	if (result != NULL)
		note(run, job, result, took);
}

/* It is tried again when the run has rested. */
static void
put_back(Run *run, WbcWarmerJob *job, TimestampTz now)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	run->queue.jobs = lappend(run->queue.jobs, job);
	run->rest_until = now + REST;
	MemoryContextSwitchTo(caller);
}

static void
skip(Run *run, const WbcWarmerJob *job)
{
	if (!job->game->skipped)
		run->counts.skipped_for_budget++;
	job->game->skipped = true;
}

/* ----------------------------------------------------------------
 * A turn
 * ----------------------------------------------------------------
 */

static void
start_job(Run *run, WbcWarmerJob *job)
{
	Flying	   *flying = &run->window[(run->first + run->nflying) % WINDOW];
	TimestampTz now = GetCurrentTimestamp();
	bool		may_fly = run->budget > 0 && now < run->until;

	wbc_swr_begin(&flying->read, cstring_to_text(job->key), now);
	flying->result = "fetched";
	switch (wbc_swr_warm(&flying->read, may_fly))
	{
		case WBC_WARM_FRESH:
			take_value(run, job, &flying->read, NULL, 0);
			return;
		case WBC_WARM_STARTED:
			run->budget--;
			run->counts.requests++;
			break;
		case WBC_WARM_JOINED:
			flying->result = "joined";
			break;
		case WBC_WARM_FAILED:
			note_error(run, job, flying->read.error.message, 0);
			return;
		case WBC_WARM_MISSING:
			if (may_fly)
				put_back(run, job, now);
			else
				skip(run, job);
			return;
	}
	if (job->is_categories)
		run->expected += wbc_warmer_most_props(&run->queue);
	flying->job = job;
	run->nflying++;
}

/*
 * Where the next job is: at the end, but while the upstream refuses all because
 * of failures, elsewhere after each, in steps that come near every place.  For
 * it may fail for just those of the highest priority, and one success is what
 * closes its breaker.
 */
static int
next_job(const Run *run)
{
	int			n = list_length(run->queue.jobs);

	return n - 1 - (run->refused ? (int) ((int64) (run->failed * GOLDEN_SECTION * n) % n) : 0);
}

/*
 * May the next job be started?  A game's categories have to wait while those of
 * games before it may need the rest of the budget for their props.
 */
static bool
may_start(const Run *run)
{
	if (run->queue.jobs == NIL || run->nflying == WINDOW ||
		run->rest_until > GetCurrentTimestamp())
		return false;
	return run->nflying == 0 || run->budget > run->expected ||
		!((WbcWarmerJob *) list_nth(run->queue.jobs, next_job(run)))->is_categories;
}

static void
start_jobs(Run *run)
{
	wbc_swr_prepare();
	for (int i = 0; i < TURN_MAX && may_start(run); i++)
	{
		int			next = next_job(run);
		WbcWarmerJob *job = list_nth(run->queue.jobs, next);

		CHECK_FOR_INTERRUPTS();
		run->queue.jobs = list_delete_nth_cell(run->queue.jobs, next);
		start_job(run, job);
	}
}

/*
 * Waits, without a snapshot, for the flight that was started first.
 */
static void
wait_for_first(Run *run)
{
	Flying	   *flying = &run->window[run->first];
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	wbc_swr_warm_land(&flying->read,
					  flying->read.asked_at + 2 * (int64) wbc_guc_max_wait * 1000);
	MemoryContextSwitchTo(caller);
}

/*
 * Takes what has come of the flight that was waited for.  A refusal was no
 * request.
 */
static void
finish_first(Run *run)
{
	Flying	   *flying = &run->window[run->first];
	WbcWarmerJob *job = flying->job;

	flying->job = NULL;
	run->first = (run->first + 1) % WINDOW;
	run->nflying--;
	if (job->is_categories)
		run->expected -= wbc_warmer_most_props(&run->queue);
	run->refused = flying->read.failed &&
		flying->read.error.sqlstate == WBC_ERRCODE_UPSTREAM_UNAVAILABLE;
	if (!flying->read.failed)
	{
		run->failed = 0;
		take_value(run, job, &flying->read, flying->result, flying->read.waited);
		pfree(flying->read.value);
	}
	else if (run->refused)
	{
		if (flying->read.started_flight)
		{
			run->budget++;
			run->counts.requests--;
		}
		put_back(run, job, GetCurrentTimestamp());
	}
	else
	{
		run->failed++;
		note_error(run, job, flying->read.error.message, flying->read.waited);
	}
}

static void
rest(Run *run)
{
	long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													 run->rest_until);

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(ms, 1), wbc_compat_wait_event("WbcacheWarmer"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Writes what there is of the log, if it is enough and may be written; and
 * commits.
 */
static void
commit(Run *run, bool all)
{
	if (list_length(run->log) >= (all ? 1 : TURN_MAX))
	{
		wbc_statement_set("synchronous_commit", "off", GUC_ACTION_LOCAL);
		if (!XactReadOnly)
			wbc_warmer_write_log(run->log, all);
		list_free_deep(run->log);
		run->log = NIL;
	}
	wbc_warmer_state_put(&run->counts, run->budget, run->error);
	SPI_commit();
}

static void
turn(Run *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->turn);

	PushActiveSnapshot(GetTransactionSnapshot());
	if (run->nflying > 0 && run->window[run->first].read.flight < 0)
		finish_first(run);
	start_jobs(run);
	PopActiveSnapshot();
	commit(run, false);
	if (run->nflying > 0)
		wait_for_first(run);
	else if (run->queue.jobs != NIL && run->rest_until > GetCurrentTimestamp())
		rest(run);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(run->turn);
}

static void
carry_out(Run *run)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	plan(run);
	PopActiveSnapshot();
	while (run->queue.jobs != NIL || run->nflying > 0)
		turn(run);
	commit(run, true);
}

/* ----------------------------------------------------------------
 * The procedure
 * ----------------------------------------------------------------
 */

static void
make_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, LOCK_OF_WARMER);
}

/* The run of this process; NULL: there is none. */
static Run *current = NULL;

/*
 * The run ends.  Throws nothing.
 */
static void
stop(WbcWarmerEnd end)
{
	Run		   *run = current;

	current = NULL;
	for (int i = 0; i < WINDOW; i++)
		if (run->window[i].job != NULL && run->window[i].read.flight >= 0)
			wbc_flight_leave(run->window[i].read.flight);
	wbc_warmer_state_put(&run->counts, run->budget, run->error);
	if (wbc_warmer_state_end(end, GetCurrentTimestamp()))
		wbc_worker_tell_loaders(MyDatabaseId);
}

static void
stop_at_exit(int code, Datum arg)
{
	if (current != NULL)
		stop(WBC_WARMER_INTERRUPTED);
}

static void
begin(Run *run)
{
	static bool prepared = false;

	if (!prepared)
		before_shmem_exit(stop_at_exit, 0);
	prepared = true;
	memset(run, 0, sizeof(Run));
	run->context = AllocSetContextCreate(PortalContext, "wbcache warmer",
										 ALLOCSET_DEFAULT_SIZES);
	run->turn = AllocSetContextCreate(run->context, "wbcache warmer turn",
									  ALLOCSET_DEFAULT_SIZES);
	run->started = GetCurrentTimestamp();
	run->interval = read_interval();
	run->until = run->started + run->interval;
	run->queue.context = run->context;
	run->queue.sportsbooks = wbc_warmer_sportsbooks(run->context);
	for (int i = 0; i < WINDOW; i++)
		run->window[i].read.flight = -1;
	run->budget = wbc_warmer_state_begin(run->started, wbc_guc_warmer_budget,
										 run->interval);
	current = run;
}

/*
 * A whole run.  SPI is connected, and the lock is held.
 */
static void
run_once(Run *run)
{
	begin(run);
	PG_TRY();
	{
		carry_out(run);
	}
	PG_CATCH();
	{
		stop(WBC_WARMER_FAILED);
		PG_RE_THROW();
	}
	PG_END_TRY();
	stop(WBC_WARMER_DONE);
	MemoryContextDelete(run->context);
}

static void
refuse_in_a_block(FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("wbcache.warm_upcoming() can't be called in a transaction block"),
				 errdetail("It commits, so as to hold no snapshot while it waits."),
				 errhint("Call it by itself, or call wbcache.run_warmer().")));
}

/*
 * warm_upcoming()
 */
Datum
wbcache_warm_upcoming(PG_FUNCTION_ARGS)
{
	Run			run;
	LOCKTAG		tag;

	wbc_shmem_require();
	refuse_in_a_block(fcinfo);
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	make_tag(&tag);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(NOTICE, (errmsg("the warmer is running already, skipping")));
	else
	{
		PG_TRY();
		{
			run_once(&run);
		}
		PG_FINALLY();
		{
			(void) LockRelease(&tag, ExclusiveLock, true);
		}
		PG_END_TRY();
	}
	SPI_finish();
	PG_RETURN_VOID();
}
