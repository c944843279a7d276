/*-------------------------------------------------------------------------
 *
 * loader.c
 *	  The background workers that run SQL.
 *
 * Layer 5.  One loop: what invalidations others are to be told of, and which tasks
 * are due, that run in processes of their own; a flight for an SQL loader, if there
 * is one; else a batch of what the table tier has to get; else a vacuum of it, and
 * a look at the hot keys; else sleep on the latch.  What users wait for goes before
 * what takes long, except that a batch is written before each flight while values
 * come faster than that, and memory would lose them.
 *
 * A loader may be in the middle of a user's function when it is told to end;
 * then it ends as a backend would, with FATAL, and the flight is started
 * again by another loader.  Otherwise it first writes what the table tier has
 * yet to get, so that a restart finds it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "flight.h"
#include "hotkey.h"
#include "load.h"
#include "loader.h"
#include "memory.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "push.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "table.h"
#include "task_clock.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "writeback.h"

/* Longest sleep; nothing is due then, it only bounds the wait. */
#define SLEEP_MAX_MS	(60 * 1000)

static int	lane = -1;

/* In the middle of somebody's function, or of a vacuum. */
static volatile sig_atomic_t may_take_long = false;

/*
 * Our own work is short and is finished first; what may take long is not waited
 * for.
 */
static void
handle_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	SetLatch(MyLatch);
	if (may_take_long)
		die(postgres_signal_arg);
	errno = save_errno;
}

static void
leave_work(int code, Datum arg)
{
	wbc_flight_close_lane(lane);
}

static void
start_work(int slot)
{
	wbc_worker_connect(slot);
	wbc_memory_attach();
	lane = wbc_flight_open_lane(MyDatabaseId, WBC_CARRIER_LOADER);
	if (lane < 0)
		proc_exit(0);
	before_shmem_exit(leave_work, 0);
	wbc_push_prepare();
}

static bool
carry_out_flight(void)
{
	int			flight = wbc_flight_next(lane, WBC_CARRIER_LOADER);

	if (flight < 0)
		return false;
	may_take_long = true;
	if (ShutdownRequestPending)
		proc_exit(0);			/* leave_work() gives the flight back */
	wbc_load_flight(flight, GetCurrentTimestamp());
	may_take_long = false;
	return true;
}

static void
vacuum_if_due(void)
{
	if (!wbc_table_wants_vacuum())
		return;
	may_take_long = true;
	if (!ShutdownRequestPending)
		wbc_writeback_vacuum();
	may_take_long = false;
}

static long
time_to_sleep(TimestampTz now, TimestampTz next)
{
	return Min(Max(TimestampDifferenceMilliseconds(now, next), 1),
			   SLEEP_MAX_MS);
}

/*
 * The postmaster's entry into a loader; the argument is its slot in the table
 * of workers.
 */
void
wbc_loader_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();

	start_work(DatumGetInt32(arg));

	for (;;)
	{
		TimestampTz now;
		TimestampTz next;
		TimestampTz next_push;
		TimestampTz next_task;
		TimestampTz next_hot;

		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
		{
			wbc_writeback_finish(GetCurrentTimestamp());
			proc_exit(0);
		}
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		now = GetCurrentTimestamp();
		next_push = wbc_push_run(now);
		wbc_task_clock_run(now, &next_task);
		wbc_writeback_keep_up();
		if (carry_out_flight())
			continue;
		now = GetCurrentTimestamp();
		if (wbc_writeback_run(now, &next))
			continue;
		vacuum_if_due();
		wbc_hotkey_run(now, &next_hot);
		next = Min(Min(next, next_hot), Min(next_task, next_push));

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 time_to_sleep(now, next),
						 wbc_compat_wait_event("WbcacheLoader"));
		ResetLatch(MyLatch);
	}
}
