/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Keeps a fetcher and loaders running in each database of
 *	  wbcache.databases.
 *
 * Layer 5.  A worker that the postmaster restarted by itself would fail once
 * a second, with a log line each time, when its database doesn't exist or the
 * worker slots are used up.  The launcher is connected to no database, looks
 * before it starts anything, says what is wrong once, and tries again.
 *
 * It starts a fetcher or loader as a dynamic background worker that is never
 * restarted by the postmaster.  What runs is in worker.c's table, entered by
 * the workers themselves; so a new launcher finds the workers of the old one.
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
#include "health.h"
#include "launcher.h"
#include "load.h"
#include "metrics.h"
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

/* A worker is not started more often than this. */
#define RESTART_INTERVAL	(1 * USECS_PER_SEC)

/* What could not be had is looked for again after this time. */
#define RETRY_INTERVAL		(5 * USECS_PER_SEC)

/* What was said about a database, so as not to say it again. */
typedef enum Complaint
{
	COMPLAINT_NONE,
	COMPLAINT_MISSING,
	COMPLAINT_CLOSED,
	COMPLAINT_NO_SLOT,
	COMPLAINT_NO_PLACE
} Complaint;

/* One worker that a database should have. */
typedef struct Post
{
	WbcWorkerKind kind;
	int			number;			/* which one of its kind */
	int			slot;			/* in worker.c's table, or -1 */
} Post;

/* The first post is the fetcher's, the others are loaders'. */
#define POSTS	(1 + WBC_LOADERS_MAX)

/* One name in wbcache.databases. */
typedef struct Charge
{
	char	   *name;
	Oid			dbid;			/* InvalidOid: not found (yet) */
	Post		posts[POSTS];
	Complaint	complaint;
	TimestampTz next_look;
} Charge;

static List *charges = NIL;		/* of Charge *, in TopMemoryContext */

/*
 * Scans pg_database: without a database of our own, a process can't count on
 * its indexes.  *open: does it accept connections?  A DROP DATABASE that was
 * interrupted leaves one that doesn't, with a limit of -2.
 */
static Oid
find_database(const char *name, bool *open)
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

		if (strcmp(NameStr(database->datname), name) != 0)
			continue;
		dbid = database->oid;
		*open = database->datallowconn && database->datconnlimit >= -1;
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
 * Nobody should be on this post any more.  Returns whether nobody is.
 */
static bool
vacate(Post *post)
{
	WbcWorker	worker;

	if (post->slot < 0)
		return true;

	wbc_worker_read(post->slot, &worker);
	if (worker.pid != 0)
	{
		kill(worker.pid, SIGTERM);
		return false;
	}
	wbc_worker_forget(post->slot);
	post->slot = -1;
	return true;
}

/*
 * The database has no place in wbcache.databases any more, or is gone.
 * Returns whether all of its workers have ended.
 */
static bool
give_up(Charge *charge)
{
	bool		vacant = true;
	WbcError	error;

	for (int i = 0; i < POSTS; i++)
		vacant &= vacate(&charge->posts[i]);

	if (vacant && OidIsValid(charge->dbid))
	{
		wbc_error_set(&error, WBC_ERRCODE_NO_WORKER,
					  "no wbcache worker serves this database any more");
		wbc_error_hint(&error,
					   "Add the database to wbcache.databases and reload the configuration.");
		wbc_flight_drop_lane(charge->dbid, &error);
		charge->dbid = InvalidOid;
	}
	return vacant;
}

static Charge *
make_charge(const char *name)
{
	Charge	   *charge = palloc0(sizeof(Charge));

	charge->name = pstrdup(name);
	for (int i = 0; i < POSTS; i++)
	{
		charge->posts[i].kind = i == 0 ? WBC_WORKER_FETCHER : WBC_WORKER_LOADER;
		charge->posts[i].number = i;
		charge->posts[i].slot = -1;
	}
	return charge;
}

/*
 * Makes the charges what wbcache.databases says.  Those that are no longer
 * named stay on a list of leftovers until their workers have ended.
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
			charge = make_charge(name);
		charge->next_look = 0;
		kept = lappend(kept, charge);
	}
	leftovers = list_concat(leftovers, charges);
	charges = kept;
	MemoryContextSwitchTo(caller);
	return leftovers;
}

static bool
start_worker(const Charge *charge, const Post *post)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "wbcache"
	};
	const char *kind = wbc_worker_kind_name(post->kind);

	snprintf(worker.bgw_function_name, BGW_MAXLEN, "wbc_%s_main", kind);
	snprintf(worker.bgw_type, BGW_MAXLEN, "wbcache %s", kind);
	snprintf(worker.bgw_name, BGW_MAXLEN, "wbcache %s for %s", kind,
			 charge->name);
	worker.bgw_main_arg = Int32GetDatum(post->slot);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
complain(Charge *charge, Complaint complaint, WbcWorkerKind kind)
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
		case COMPLAINT_CLOSED:
			ereport(LOG,
					(errmsg("database \"%s\" in wbcache.databases does not accept connections; it will be served when it does",
							charge->name)));
			break;
		case COMPLAINT_NO_SLOT:
			ereport(LOG,
					(errmsg("no worker slot is free for the wbcache %s of database \"%s\"; trying again every 5 s",
							wbc_worker_kind_name(kind), charge->name),
					 errhint("Raise max_worker_processes and restart the server.")));
			break;
		case COMPLAINT_NO_PLACE:
			ereport(LOG,
					(errmsg("database \"%s\" in wbcache.databases is not served: there are %d others",
							charge->name, WBC_DATABASES_MAX),
					 errhint("Take some out of wbcache.databases.")));
			break;
	}
}

/*
 * Is the post's worker running, or not to be started yet?  If the latter, says
 * when to look again.
 */
static bool
is_settled(const Post *post, TimestampTz now, TimestampTz *next_look)
{
	WbcWorker	worker;

	if (post->slot < 0)
		return false;

	wbc_worker_read(post->slot, &worker);
	if (worker.pid == 0 && wbc_worker_is_held(&worker, now))
		*next_look = Min(*next_look, worker.not_before);
	return worker.pid != 0 || wbc_worker_is_held(&worker, now);
}

/*
 * Sees to one post of a database that exists.  Returns false when there is no
 * place for its worker.
 */
static bool
man(const Charge *charge, Post *post, TimestampTz now, TimestampTz *next_look)
{
	if (post->number > wbc_guc_loaders)
	{
		(void) vacate(post);
		return true;
	}
	if (post->slot < 0)
		post->slot = wbc_worker_slot(post->kind, charge->dbid, post->number);
	if (is_settled(post, now, next_look))
		return true;
	if (post->slot < 0 || !start_worker(charge, post))
		return false;

	wbc_worker_hold(post->slot, now + RESTART_INTERVAL);
	*next_look = Min(*next_look, now + RESTART_INTERVAL);
	return true;
}

/* Is its fetcher not to be started yet, as while somebody drops it? */
static bool
is_held(const Charge *charge, TimestampTz now)
{
	WbcWorker	worker;

	if (charge->posts[0].slot < 0)
		return false;
	wbc_worker_read(charge->posts[0].slot, &worker);
	return wbc_worker_is_held(&worker, now);
}

/* Does every worker run that should, and no other? */
static bool
is_complete(const Charge *charge)
{
	for (int i = 0; i < POSTS; i++)
	{
		const Post *post = &charge->posts[i];
		WbcWorker	worker = {0};

		if (post->slot >= 0)
			wbc_worker_read(post->slot, &worker);
		if (i > wbc_guc_loaders ? post->slot >= 0 : worker.pid == 0)
			return false;
	}
	return true;
}

/*
 * Without loaders nothing waits for one: what was asked for before there were
 * none left, or is handed over by the fetcher, is refused.
 */
static void
refuse_loads(const Charge *charge)
{
	WbcError	error;

	if (wbc_guc_loaders > 0 || !OidIsValid(charge->dbid))
		return;
	wbc_load_no_process(&error);
	wbc_flight_refuse(charge->dbid, WBC_CARRIER_LOADER, &error);
}

/*
 * Sees to one database: finds it, and starts those of its workers that don't
 * run.
 */
static void
look_after(Charge *charge, TimestampTz now)
{
	bool		open = false;
	Oid			dbid;

	charge->next_look = now + RETRY_INTERVAL;
	refuse_loads(charge);
	if (is_complete(charge))
		return;

	dbid = find_database(charge->name, &open);
	if (OidIsValid(charge->dbid) && dbid != charge->dbid && !give_up(charge))
		return;
	charge->dbid = dbid;
	if (!OidIsValid(dbid))
	{
		complain(charge, COMPLAINT_MISSING, WBC_WORKER_FETCHER);
		return;
	}
	if (!open && !is_held(charge, now))
	{
		complain(charge, COMPLAINT_CLOSED, WBC_WORKER_FETCHER);
		return;
	}
	if (!wbc_flight_reserve_lane(dbid))
	{
		complain(charge, COMPLAINT_NO_PLACE, WBC_WORKER_FETCHER);
		return;
	}
	for (int i = 0; i < POSTS; i++)
		if (!man(charge, &charge->posts[i], now, &charge->next_look))
		{
			complain(charge, COMPLAINT_NO_SLOT, charge->posts[i].kind);
			return;
		}
	complain(charge, COMPLAINT_NONE, WBC_WORKER_FETCHER);
}

/*
 * Looks after all that is due, the windows of the statistics too, and returns
 * how many milliseconds nothing is.
 */
static long
look_after_all(List **leftovers, bool all)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = Min(now + RETRY_INTERVAL, wbc_metrics_tick(now));
	ListCell   *cell;

	wbc_health_tick(now);
	foreach(cell, charges)
	{
		Charge	   *charge = lfirst(cell);

		if (all || wbc_is_time(charge->next_look, now, RETRY_INTERVAL))
			look_after(charge, now);
		next = Min(next, charge->next_look);
	}
	foreach(cell, *leftovers)
	{
		if (give_up(lfirst(cell)))
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

	if (!wbc_worker_enter(wbc_worker_slot(WBC_WORKER_LAUNCHER, InvalidOid, 0),
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
