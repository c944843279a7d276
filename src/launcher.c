/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Keeps a fetcher running in each database of wbcache.databases.
 *
 * Layer 5.  A fetcher that the postmaster restarted by itself would fail once
 * a second, with a log line each time, when its database doesn't exist or the
 * worker slots are used up.  The launcher is connected to no database, looks
 * before it starts anything, says what is wrong once, and tries again.
 *
 * It starts a fetcher as a dynamic background worker that is never restarted
 * by the postmaster.  What runs is in worker.c's table, entered by the fetchers
 * themselves; so a new launcher finds the fetchers of the old one.
 *
 * When the launcher itself is terminated, it exits with 1, on which the
 * postmaster starts it again after a second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "error.h"
#include "flight.h"
#include "guc.h"
#include "launcher.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/* A fetcher is not started more often than this. */
#define RESTART_INTERVAL	(1 * USECS_PER_SEC)

/* What could not be had is looked for again after this time. */
#define RETRY_INTERVAL		(5 * USECS_PER_SEC)

/* What was said about a database, so as not to say it again. */
typedef enum Complaint
{
	COMPLAINT_NONE,
	COMPLAINT_MISSING,
	COMPLAINT_NO_SLOT
} Complaint;

/* One name in wbcache.databases. */
typedef struct Charge
{
	char	   *name;
	Oid			dbid;			/* InvalidOid: not found (yet) */
	int			slot;			/* in worker.c's table, or -1 */
	Complaint	complaint;
	TimestampTz next_look;
} Charge;

static List *charges = NIL;		/* of Charge *, in TopMemoryContext */

/*
 * Scans pg_database: without a database of our own, a process can't count on
 * its indexes.
 */
static Oid
find_database(const char *name)
{
	Oid			dbid = InvalidOid;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (strcmp(NameStr(database->datname), name) == 0)
			dbid = database->oid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	return dbid;
}

static Charge *
find_charge(List *list, const char *name)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		Charge	   *charge = lfirst(cell);

		if (strcmp(charge->name, name) == 0)
			return charge;
	}
	return NULL;
}

/*
 * The database has no place in wbcache.databases any more, or is gone.
 */
static void
give_up(Charge *charge)
{
	WbcWorker	worker;
	WbcError	error;

	if (charge->slot < 0)
		return;

	wbc_worker_read(charge->slot, &worker);
	if (worker.pid != 0)
		kill(worker.pid, SIGTERM);
	else
	{
		wbc_error_set(&error, WBC_ERRCODE_NO_WORKER,
					  "no wbcache worker serves this database any more");
		wbc_error_hint(&error,
					   "Add the database to wbcache.databases and reload the configuration.");
		wbc_flight_drop_lane(worker.dbid, &error);
		wbc_worker_forget(charge->slot);
		charge->slot = -1;
	}
}

/*
 * Makes the charges what wbcache.databases says.  Those that are no longer
 * named stay on a list of leftovers until their fetchers have ended.
 */
static List *
read_charges(List *leftovers)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	List	   *wanted = wbc_guc_database_list();
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, wanted)
	{
		char	   *name = lfirst(cell);
		Charge	   *charge = find_charge(charges, name);

		if (charge != NULL)
			charges = list_delete_ptr(charges, charge);
		else if ((charge = find_charge(leftovers, name)) != NULL)
			leftovers = list_delete_ptr(leftovers, charge);
		else if (find_charge(kept, name) != NULL)
			continue;
		else
		{
			charge = palloc0(sizeof(Charge));
			charge->name = pstrdup(name);
			charge->slot = -1;
		}
		charge->next_look = 0;
		kept = lappend(kept, charge);
	}
	leftovers = list_concat(leftovers, charges);
	charges = kept;
	MemoryContextSwitchTo(caller);
	return leftovers;
}

static bool
start_fetcher(const Charge *charge)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "wbcache",
		.bgw_function_name = "wbc_fetcher_main",
		.bgw_type = "wbcache fetcher"
	};

	snprintf(worker.bgw_name, BGW_MAXLEN, "wbcache fetcher for %s",
			 charge->name);
	worker.bgw_main_arg = Int32GetDatum(charge->slot);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
complain(Charge *charge, Complaint complaint)
{
	if (charge->complaint == complaint)
		return;
	charge->complaint = complaint;

	switch (complaint)
	{
		case COMPLAINT_NONE:
			break;
		case COMPLAINT_MISSING:
			ereport(LOG,
					(errmsg("database \"%s\" in wbcache.databases does not exist; it will be served when it does",
							charge->name)));
			break;
		case COMPLAINT_NO_SLOT:
			ereport(LOG,
					(errmsg("no worker slot is free for the wbcache fetcher of database \"%s\"; trying again every 5 s",
							charge->name),
					 errhint("Raise max_worker_processes and restart the server.")));
			break;
	}
}

static bool
is_running(const Charge *charge)
{
	WbcWorker	worker;

	if (charge->slot < 0)
		return false;
	wbc_worker_read(charge->slot, &worker);
	return worker.pid != 0;
}

/*
 * Is the charge's fetcher not to be started yet?  Says when to look at it
 * again.
 */
static bool
is_held(Charge *charge, TimestampTz now)
{
	WbcWorker	worker;

	if (charge->slot < 0)
		return false;
	wbc_worker_read(charge->slot, &worker);
	if (worker.not_before <= now)
		return false;
	charge->next_look = worker.not_before;
	return true;
}

/*
 * Sees to one database: finds it, and starts its fetcher if that doesn't run.
 */
static void
look_after(Charge *charge, TimestampTz now)
{
	Oid			dbid;

	charge->next_look = now + RETRY_INTERVAL;
	if (is_running(charge))
		return;

	dbid = find_database(charge->name);
	if (charge->slot >= 0 && dbid != charge->dbid)
		give_up(charge);
	charge->dbid = dbid;
	if (!OidIsValid(dbid))
	{
		complain(charge, COMPLAINT_MISSING);
		return;
	}
	if (charge->slot < 0)
		charge->slot = wbc_worker_slot(WBC_WORKER_FETCHER, dbid);
	if (is_running(charge) || is_held(charge, now))
		return;
	if (charge->slot < 0 || !wbc_flight_reserve_lane(dbid) ||
		!start_fetcher(charge))
	{
		complain(charge, COMPLAINT_NO_SLOT);
		return;
	}
	complain(charge, COMPLAINT_NONE);
	wbc_worker_hold(charge->slot, now + RESTART_INTERVAL);
	charge->next_look = now + RESTART_INTERVAL;
}

/*
 * Looks after all that is due, and returns how many milliseconds nothing is.
 */
static long
look_after_all(List **leftovers, bool all)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = now + RETRY_INTERVAL;
	ListCell   *cell;

	foreach(cell, charges)
	{
		Charge	   *charge = lfirst(cell);

		if (all || charge->next_look <= now)
			look_after(charge, now);
		next = Min(next, charge->next_look);
	}
	foreach(cell, *leftovers)
	{
		Charge	   *charge = lfirst(cell);

		give_up(charge);
		if (charge->slot < 0)
			*leftovers = foreach_delete_current(*leftovers, cell);
	}
	return Max(TimestampDifferenceMilliseconds(now, next), 10);
}

/*
 * The postmaster's entry into the launcher.
 */
void
wbc_launcher_main(Datum arg)
{
	List	   *leftovers = NIL;
	bool		all = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	if (!wbc_worker_enter(wbc_worker_slot(WBC_WORKER_LAUNCHER, InvalidOid),
						  GetCurrentTimestamp()))
		elog(ERROR, "a wbcache launcher is running already");

	leftovers = read_charges(leftovers);
	for (;;)
	{
		long		idle;

		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			leftovers = read_charges(leftovers);
		}

		idle = look_after_all(&leftovers, all);
		all = WaitLatch(MyLatch,
						WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						idle, PG_WAIT_EXTENSION) & WL_LATCH_SET;
		ResetLatch(MyLatch);
	}
}

/*
 * Called once, from _PG_init, while the library is being preloaded.
 */
void
wbc_launcher_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = "wbcache launcher",
		.bgw_type = "wbcache launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = 1,
		.bgw_library_name = "wbcache",
		.bgw_function_name = "wbc_launcher_main"
	};

	RegisterBackgroundWorker(&worker);
}
