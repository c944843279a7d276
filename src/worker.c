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
#include "shmem.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "worker.h"

/*
 * DROP DATABASE waits 5 s for a database's sessions to end.  A fetcher that
 * was stopped for its sake comes back when that time is over, if the database
 * is still there.
 */
#define HOLD_FOR_DROP	(6 * USECS_PER_SEC)

static WbcWorker *workers;		/* all of it: lock */
static LWLock *lock;

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

/* Returns -1 when there is none.  Hold the lock. */
static int
find(WbcWorkerKind kind, Oid dbid)
{
	for (int i = 0; i < WBC_WORKERS_MAX; i++)
		if (workers[i].in_use && workers[i].kind == kind &&
			workers[i].dbid == dbid)
			return i;
	return -1;
}

/*
 * The slot of a worker that should run, made if need be; -1 when the table is
 * full.
 */
int
wbc_worker_slot(WbcWorkerKind kind, Oid dbid)
{
	int			slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find(kind, dbid);
	for (int i = 0; slot < 0 && i < WBC_WORKERS_MAX; i++)
		if (!workers[i].in_use)
		{
			memset(&workers[i], 0, sizeof(WbcWorker));
			workers[i].in_use = true;
			workers[i].kind = kind;
			workers[i].dbid = dbid;
			slot = i;
		}
	LWLockRelease(lock);

	return slot;
}

/* Hold the lock. */
static void
wake_launcher(void)
{
	int			launcher = find(WBC_WORKER_LAUNCHER, InvalidOid);

	if (launcher >= 0 && workers[launcher].pid != 0)
		SetLatch(&ProcGlobal->allProcs[workers[launcher].procno].procLatch);
}

static void
go_out(int code, Datum arg)
{
	WbcWorker  *me = &workers[DatumGetInt32(arg)];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (me->pid == MyProcPid)
		me->pid = 0;
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
		before_shmem_exit(go_out, Int32GetDatum(slot));
	return entered;
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
 * Somebody drops a database: its fetcher must not be in the way.
 */
void
wbc_worker_stop_for_drop(Oid dbid, TimestampTz now)
{
	pid_t		pid = 0;
	int			slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find(WBC_WORKER_FETCHER, dbid);
	if (slot >= 0)
	{
		workers[slot].not_before = now + HOLD_FOR_DROP;
		pid = workers[slot].pid;
	}
	LWLockRelease(lock);

	if (pid != 0)
		kill(pid, SIGTERM);
}
