/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  Which of our processes should run, and which do.
 *
 * Layer 3.  A small table in shared memory under one lock.  A
 * process enters itself when it starts; its exit callback takes it out and
 * wakes the launcher.  So a launcher that was started anew knows what it has
 * to know.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker.h"

/*
 * DROP DATABASE waits 5 s for a database's sessions to end.  Workers that were
 * stopped for its sake come back when that time is over, if the database is
 * still there.
 */
#define HOLD_FOR_DROP	(6 * USECS_PER_SEC)

/* Longest wait of a fetcher or loader for a lock on a catalog or on wbcache.endpoint. */
#define LOCK_TIMEOUT	"1s"

/* How long a user's function may go on when its time is over. */
#define OVERRUN_MS		5000

static WbcWorker *workers;		/* all of it: lock; told is also read without */
static LWLock *lock;
static int	my_slot = -1;		/* of this process, once it has entered */
static TimeoutId overrun = MAX_TIMEOUTS;	/* once registered */
static volatile sig_atomic_t has_overrun = false;

static Size
workers_size(void)
{
	return sizeof(WbcWorker) * WBC_WORKERS_MAX;
}

static void
workers_attach(void *place, LWLockPadded *locks, bool found)
{
	workers = place;
	lock = &locks[0].lock;
	if (!found)
		memset(workers, 0, workers_size());
}

void
wbc_worker_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_worker",
		.nlocks = 1,
		.size = workers_size,
		.attach = workers_attach
	};

	wbc_shmem_register(&piece);
}

const char *
wbc_worker_kind_name(WbcWorkerKind kind)
{
	switch (kind)
	{
		case WBC_WORKER_LAUNCHER:
			return "launcher";
		case WBC_WORKER_FETCHER:
			return "fetcher";
		case WBC_WORKER_LOADER:
			return "loader";
		case WBC_WORKER_TASK:
			return "task";
	}
	return NULL;				/* keep compiler quiet */
}

/* Returns -1 when there is none.  Hold the lock. */
static int
find(WbcWorkerKind kind, Oid dbid, int number)
{
	for (int i = 0; i < WBC_WORKERS_MAX; i++)
		if (workers[i].in_use && workers[i].kind == kind &&
			workers[i].dbid == dbid && workers[i].number == number)
			return i;
	return -1;
}

/*
 * The slot of a worker that should run, made if need be; -1 when the table is
 * full.
 */
int
wbc_worker_slot(WbcWorkerKind kind, Oid dbid, int number)
{
	int			slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find(kind, dbid, number);
	for (int i = 0; slot < 0 && i < WBC_WORKERS_MAX; i++)
		if (!workers[i].in_use)
		{
			memset(&workers[i], 0, sizeof(WbcWorker));
			workers[i].in_use = true;
			workers[i].kind = kind;
			workers[i].dbid = dbid;
			workers[i].number = number;
			slot = i;
		}
	LWLockRelease(lock);

	return slot;
}

/* Hold the lock. */
static void
wake_launcher(void)
{
	int			launcher = find(WBC_WORKER_LAUNCHER, InvalidOid, 0);

	if (launcher >= 0 && workers[launcher].pid != 0)
		SetLatch(&ProcGlobal->allProcs[workers[launcher].procno].procLatch);
}

static void
go_out(int code, Datum arg)
{
	WbcWorker  *me = &workers[DatumGetInt32(arg)];

	if (has_overrun)
		ereport(LOG,
				(errmsg("a function went on for %d s after its time was over; its process was ended",
						OVERRUN_MS / 1000),
				 errhint("Don't let it catch query_canceled.")));

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (me->pid == MyProcPid)
	{
		me->pid = 0;
		me->on_duty = false;
		if (me->kind == WBC_WORKER_TASK)
			me->in_use = false;
	}
	wake_launcher();
	LWLockRelease(lock);
}

/*
 * Somebody waits for a worker that was never started: lets the launcher look
 * now, and not when its time has come.
 */
void
wbc_worker_wake_launcher(void)
{
	LWLockAcquire(lock, LW_SHARED);
	wake_launcher();
	LWLockRelease(lock);
}

/*
 * This process is that worker, until it exits.  Returns false when another
 * one is already.
 */
bool
wbc_worker_enter(int slot, TimestampTz now)
{
	WbcWorker  *me = &workers[slot];
	bool		entered;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	entered = me->in_use && me->pid == 0;
	if (entered)
	{
		me->pid = MyProcPid;
		me->procno = wbc_compat_my_procno();
		me->started_at = now;
		me->starts++;
	}
	LWLockRelease(lock);

	if (entered)
	{
		my_slot = slot;
		before_shmem_exit(go_out, Int32GetDatum(slot));
	}
	return entered;
}

/*
 * Enters, as superuser, into the database of that worker.  Exits quietly when
 * another process is it already.
 */
void
wbc_worker_connect(int slot)
{
	WbcWorker	worker;

	wbc_worker_read(slot, &worker);
	if (!wbc_worker_enter(slot, GetCurrentTimestamp()))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(worker.dbid, InvalidOid, 0);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	MemoryContextSwitchTo(TopMemoryContext);
}

/*
 * This process runs a task of a database, until it exits.  With the table full
 * it does so all the same: then DROP DATABASE doesn't know of it.
 */
void
wbc_worker_enter_task(Oid dbid, TimestampTz now)
{
	bool		entered = false;

	for (int number = 0; number < WBC_WORKERS_MAX && !entered; number++)
	{
		int			slot = wbc_worker_slot(WBC_WORKER_TASK, dbid, number);

		if (slot < 0)
			return;
		entered = wbc_worker_enter(slot, now);
	}
}

/*
 * Should it not be started yet?
 */
bool
wbc_worker_is_held(const WbcWorker *worker, TimestampTz now)
{
	return !wbc_is_time(worker->not_before, now, HOLD_FOR_DROP);
}

/* A signal handler's part: the process ends as by SIGTERM. */
static void
end_overrun(void)
{
	has_overrun = true;
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/*
 * From here to wbc_worker_end_time_limit() this process runs a function of a
 * user's.  When its time is over it is cancelled; if it goes on all the same, as by
 * catching that, its process is ended.
 */
void
wbc_worker_begin_time_limit(int64 microseconds)
{
	int			ms = (int) Max(microseconds / 1000, 1);

	if (overrun == MAX_TIMEOUTS)
		overrun = RegisterTimeout(USER_TIMEOUT, end_overrun);
	enable_timeout_after(STATEMENT_TIMEOUT, ms);
	enable_timeout_after(overrun, ms + OVERRUN_MS);
}

/*
 * Also if it had not begun.  A cancel that comes too late must not hit what comes
 * next.  Doesn't throw.
 */
void
wbc_worker_end_time_limit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (overrun != MAX_TIMEOUTS)
		disable_timeout(overrun, false);
	QueryCancelPending = false;
}

/* Hold the lock. */
static void
wake_loaders(Oid dbid, bool tell)
{
	for (int i = 0; i < WBC_WORKERS_MAX; i++)
		if (workers[i].in_use && workers[i].kind == WBC_WORKER_LOADER &&
			workers[i].dbid == dbid && workers[i].pid != 0)
		{
			if (tell)
				workers[i].told = true;
			SetLatch(&ProcGlobal->allProcs[workers[i].procno].procLatch);
		}
}

/*
 * There is more to be written into the table tier than can wait.
 */
void
wbc_worker_wake_loaders(Oid dbid)
{
	LWLockAcquire(lock, LW_SHARED);
	wake_loaders(dbid, false);
	LWLockRelease(lock);
}

/*
 * The tasks of this database are not what they were: its loaders should look.
 * Doesn't throw.
 */
void
wbc_worker_tell_loaders(Oid dbid)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	wake_loaders(dbid, true);
	LWLockRelease(lock);
}

/*
 * Was this loader told to look?  Without the lock: who sets it sets the latch
 * too.
 */
bool
wbc_worker_was_told(void)
{
	return workers[my_slot].told;
}

/* It is about to look. */
void
wbc_worker_take_note(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	workers[my_slot].told = false;
	LWLockRelease(lock);
}

/*
 * Makes this loader the one of its database that does what only one may do at a
 * time: writes the table tier, notifies, looks at the tasks.  Returns false when
 * another one is.
 */
bool
wbc_worker_begin_duty(void)
{
	bool		vacant = true;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_WORKERS_MAX; i++)
		if (workers[i].in_use && workers[i].on_duty &&
			workers[i].dbid == MyDatabaseId)
			vacant = false;
	if (vacant)
		workers[my_slot].on_duty = true;
	LWLockRelease(lock);

	return vacant;
}

void
wbc_worker_end_duty(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	workers[my_slot].on_duty = false;
	LWLockRelease(lock);
}

void
wbc_worker_hold(int slot, TimestampTz until)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	workers[slot].not_before = Max(workers[slot].not_before, until);
	LWLockRelease(lock);
}

void
wbc_worker_forget(int slot)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	workers[slot].in_use = false;
	LWLockRelease(lock);
}

void
wbc_worker_read(int slot, WbcWorker *copy)
{
	LWLockAcquire(lock, LW_SHARED);
	*copy = workers[slot];
	LWLockRelease(lock);
}

/*
 * Somebody drops a database: its workers must not be in the way.
 */
void
wbc_worker_stop_for_drop(Oid dbid, TimestampTz now)
{
	pid_t		pids[WBC_WORKERS_MAX];
	int			n = 0;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_WORKERS_MAX; i++)
	{
		if (!workers[i].in_use || workers[i].dbid != dbid)
			continue;
		workers[i].not_before = now + HOLD_FOR_DROP;
		if (workers[i].pid != 0)
			pids[n++] = workers[i].pid;
	}
	LWLockRelease(lock);

	for (int i = 0; i < n; i++)
		kill(pids[i], SIGTERM);
}
