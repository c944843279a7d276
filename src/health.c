/*-------------------------------------------------------------------------
 *
 * health.c
 *	  What it takes to say how the cache is, beside the statistics.
 *
 * Layer 5.  What is a reason to worry, and from when on, is said in SQL, over
 * the statistics views (the install script, under Health).  Here are the facts
 * that no view shows: above all, what the memory tier has done lately, of which
 * the views show the sum since the server start.
 *
 * Lock protocol.  One lock guards the window.  The launcher puts snapshots into
 * it, and holds the lock exclusively; who reads holds it shared.  The counters
 * themselves are atomics of the memory tier, and are never reset.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "glob.h"
#include "guc.h"
#include "health.h"
#include "memory.h"
#include "miscadmin.h"
#include "registry.h"
#include "shmem.h"
#include "ttl.h"
#include "utils/timestamp.h"
#include "window.h"

PG_FUNCTION_INFO_V1(wbcache_health_facts);

/* What the window is about, in order. */
enum
{
	STORES,
	EVICTIONS,
	REFUSED
};

static WbcWindow *window;
static LWLock *lock;

static Size
health_size(void)
{
	return sizeof(WbcWindow);
}

static void
health_attach(void *place, LWLockPadded *locks, bool found)
{
	window = place;
	lock = &locks[0].lock;
	if (!found)
		wbc_window_begin(window, GetCurrentTimestamp());
}

void
wbc_health_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_health",
		.nlocks = 1,
		.size = health_size,
		.attach = health_attach
	};

	wbc_shmem_register(&piece);
}

static void
read_counters(uint64 *count)
{
	WbcMemoryInfo info;

	wbc_memory_info(&info);
	memset(count, 0, WBC_WINDOW_COUNTERS * sizeof(uint64));
	count[STORES] = info.stores;
	count[EVICTIONS] = info.evictions;
	count[REFUSED] = info.refused;
}

/*
 * Puts a snapshot into the window if it is time.  Called by the launcher at
 * least every WBC_WINDOW_STEP; more often does no harm.
 */
void
wbc_health_tick(TimestampTz now)
{
	uint64		count[WBC_WINDOW_COUNTERS];

	read_counters(count);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	wbc_window_put(window, now, count);
	LWLockRelease(lock);
}

/*
 * health_facts() returns the columns of the type health_facts; no row where the
 * library was not preloaded.
 */
Datum
wbcache_health_facts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64		count[WBC_WINDOW_COUNTERS];
	uint64		growth[WBC_WINDOW_COUNTERS];
	int64		period;
	Datum		values[10];
	bool		nulls[10] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (!wbc_shmem_is_ready())
		return (Datum) 0;

	LWLockAcquire(lock, LW_SHARED);
	read_counters(count);
	period = wbc_window_read(window, GetCurrentTimestamp(), count, growth);
	LWLockRelease(lock);

	values[0] = BoolGetDatum(wbc_guc_lists_database(get_database_name(MyDatabaseId)));
	values[1] = wbc_ttl_as_interval(period);
	values[2] = Int64GetDatum((int64) growth[STORES]);
	values[3] = Int64GetDatum((int64) growth[EVICTIONS]);
	values[4] = Int64GetDatum((int64) growth[REFUSED]);
	values[5] = Int64GetDatum((int64) wbc_memory_count_dirty());
	values[6] = Int32GetDatum(wbc_guc_max_flights);
	values[7] = Int32GetDatum(wbc_registry_count());
	values[8] = Int32GetDatum(WBC_REGISTRATIONS_MAX);
	values[9] = Int32GetDatum(WBC_GLOBS_MAX);
	Assert(result->setDesc->natts == lengthof(values));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
