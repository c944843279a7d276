/*-------------------------------------------------------------------------
 *
 * task_clock.c
 *	  Starting tasks when their time has come.
 *
 * Layer 4.  Called by the loaders on each of their turns; it looks at wbcache.task
 * when something is due, when somebody has changed it, when a run has ended, and
 * when a transaction has committed that wants the warmer to run before its time.
 * Only one loader of a database looks at a time.
 *
 * A look marks the runs whose process is gone, claims what is due, and starts a
 * process for each.  A process that ended before it had begun its run, since its
 * role may not connect or the like, has failed too: else it would be started
 * again and again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "error.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "shmem.h"
#include "statement.h"
#include "task.h"
#include "task_clock.h"
#include "utils/timestamp.h"
#include "warmer_state.h"
#include "worker.h"

/* Most rows looked at for interrupted runs. */
#define RUNNING_MAX		64

/* What was claimed and could not be started is due again after this time, */
#define START_AGAIN		(5 * USECS_PER_SEC)

/*
 * and what could not be looked at is looked at again; so are runs under way, whose
 * processes may end without a word.
 */
#define LOOK_AGAIN		(5 * USECS_PER_SEC)

/* No two looks are closer than this, unless something was changed, */
#define LOOK_SOON		(USECS_PER_SEC / 5)

/* nor further apart than this. */
#define LOOK_SELDOM		(60 * USECS_PER_SEC)

/* A process that was started by us, until it is known what became of it. */
typedef struct Start
{
	BackgroundWorkerHandle *handle; /* NULL: free */
	NameData	name;
	int64		run_id;
	TimestampTz at;
	TimestampTz again;			/* next_start, as it was claimed */
} Start;

typedef struct Look
{
	TimestampTz now;
	WbcTask		due[WBC_TASK_RUNS_MAX];	/* claimed */
	int			ndue;
	TimestampTz next_due;
	uint32		promised;		/* wishes for the warmer that will come true */
} Look;

static Start starts[2 * WBC_TASK_RUNS_MAX];
static TimestampTz next_look = 0;
static bool complained = false;

/* ----------------------------------------------------------------
 * In whatever process changes a task
 * ----------------------------------------------------------------
 */

static bool changed = false;

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && changed)
		wbc_worker_tell_loaders(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		changed = false;
}

/*
 * The current transaction has changed tasks: the loaders of this database look
 * when it has committed.
 */
void
wbc_task_clock_look_at_commit(void)
{
	static bool registered = false;

	if (!wbc_shmem_is_ready())
		return;
	if (!registered)
		RegisterXactCallback(xact_callback, NULL);
	registered = true;
	changed = true;
}

/* ----------------------------------------------------------------
 * A look
 * ----------------------------------------------------------------
 */

/*
 * Marks the runs whose process is gone.  Returns how many there are that it is
 * not so for.
 */
static int
mark_interrupted(TimestampTz now)
{
	WbcTask		tasks[RUNNING_MAX];
	int			n = wbc_task_list_running(tasks, RUNNING_MAX);
	int			running = 0;

	for (int i = 0; i < n; i++)
	{
		const char *name = NameStr(tasks[i].name);
		WbcTask		task;

		if (!wbc_task_try_lock(name, false))
			running++;
		else if (wbc_task_find(name, &task) && task.running)
			wbc_task_mark_ended(name, WBC_TASK_INTERRUPTED,
								"its process has ended in the middle", now);
	}
	return running;
}

/*
 * A process has ended.  If nobody has touched the row since it was claimed, nor
 * holds the task's lock, the process has never begun its run.
 */
static void
settle_start(const Start *start, TimestampTz now)
{
	const char *name = NameStr(start->name);
	WbcTaskOrder order = {.run_id = start->run_id, .name = start->name};
	WbcTask		task;

	if (!wbc_task_try_lock(name, false) || !wbc_task_find(name, &task) ||
		task.run_id == start->run_id || task.next_start != start->again)
		return;
	order.owner = task.owner;
	if (wbc_task_mark_started(&order, start->at))
		wbc_task_mark_ended(name, WBC_TASK_FAILED,
							"its process could not start; the server log says why",
							now);
}

static bool
has_ended(const Start *start)
{
	pid_t		pid;

	return start->handle != NULL &&
		GetBackgroundWorkerPid(start->handle, &pid) == BGWH_STOPPED;
}

static bool
any_has_ended(void)
{
	for (int i = 0; i < lengthof(starts); i++)
		if (has_ended(&starts[i]))
			return true;
	return false;
}

static void
settle_starts(TimestampTz now)
{
	for (int i = 0; i < lengthof(starts); i++)
	{
		Start	   *start = &starts[i];

		if (!has_ended(start))
			continue;
		pfree(start->handle);
		start->handle = NULL;
		settle_start(start, now);
	}
}

static void
hurry_warmer(Look *look)
{
	uint32		wanted = wbc_warmer_state_wanted();

	if (wanted > 0 && wbc_task_hurry(WBC_WARMER_TASK, look->now))
		look->promised = wanted;
}

static void
look(void *arg)
{
	Look	   *look = arg;
	WbcStatementScope scope;
	int			running;

	look->ndue = 0;
	look->next_due = look->now + LOOK_SELDOM;
	if (!OidIsValid(wbc_statement_table("task")))
		return;

	wbc_statement_begin("task", &scope);
	settle_starts(look->now);
	running = mark_interrupted(look->now);
	hurry_warmer(look);
	if (running < WBC_TASK_RUNS_MAX)
		look->ndue = wbc_task_claim_due(look->due, WBC_TASK_RUNS_MAX - running,
										look->now, look->now + START_AGAIN);
	look->next_due = wbc_task_next_due(look->next_due);
	if (running > 0)
		look->next_due = Min(look->next_due, look->now + LOOK_AGAIN);
	if (running + look->ndue >= WBC_TASK_RUNS_MAX)
		look->next_due = Max(look->next_due, look->now + LOOK_AGAIN);
	wbc_statement_end(&scope);
}

static void
start(const WbcTask *task, TimestampTz now)
{
	int			i = 0;

	while (i < lengthof(starts) && starts[i].handle != NULL)
		i++;
	if (i == lengthof(starts))
		return;

	starts[i].name = task->name;
	starts[i].run_id = wbc_task_make_run_id();
	starts[i].at = now;
	starts[i].again = task->next_start;
	starts[i].handle = wbc_task_start(task, starts[i].run_id, true);
	if (starts[i].handle == NULL && !complained)
		ereport(LOG,
				(errmsg("no worker slot is free for task \"%s\"; trying again every 5 s",
						NameStr(task->name)),
				 errhint("Raise max_worker_processes and restart the server.")));
	complained = starts[i].handle == NULL;
}

/*
 * Does what is due.  Sets when something will be.
 */
void
wbc_task_clock_run(TimestampTz now, TimestampTz *next)
{
	Look		mine = {.now = now};
	WbcError	error;

	if (RecoveryInProgress())
	{
		*next = now + LOOK_SELDOM;
		return;
	}
	*next = Max(next_look, now + LOOK_SOON);
	if ((!wbc_is_time(next_look, now, LOOK_SELDOM) &&
		 !wbc_worker_was_told() && !any_has_ended()) ||
		!wbc_worker_begin_duty())
		return;

	wbc_worker_take_note();
	if (wbc_statement_transaction(look, &mine, &error))
	{
		if (mine.promised > 0)
			wbc_warmer_state_promise(mine.promised);
		next_look = Max(Min(mine.next_due, now + LOOK_SELDOM), now + LOOK_SOON);
		for (int i = 0; i < mine.ndue; i++)
			start(&mine.due[i], now);
	}
	else
	{
		next_look = now + LOOK_AGAIN;
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("the tasks of wbcache could not be looked at: %s",
						error.message),
				 errdetail("It is tried again in 5 s.")));
	}
	wbc_worker_end_duty();
	*next = next_look;
}
