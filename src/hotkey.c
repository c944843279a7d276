/*-------------------------------------------------------------------------
 *
 * hotkey.c
 *	  The hottest keys: noted now and then, and fetched again after a crash.
 *
 * Layer 4.  Called by the loaders on each of their turns.  At first, after the
 * server's start, the keys of wbcache.hot_key that neither tier has are fetched
 * again (hotkey_warmup.c): all of them after a crash, hardly any after a clean
 * restart.  From then on the table gets what memory says of the keys' uses
 * (hotkey_note.c, hotkey_table.c), but not while they are being brought back: a
 * cold cache doesn't know what is hot.
 *
 * One loader of a database does this, its keeper.  It remembers in its own
 * memory what it is about; should it end, or not have a turn for KEEPER_LEASE
 * because it runs somebody's function, another one becomes keeper and begins
 * again with what is still to be done.
 *
 * What others want to know is in shared memory, under one lock, which is taken
 * alone.  A keeper works on a copy, without the lock, and puts it back.  Nothing
 * is done in recovery.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "hotkey_parts.h"
#include "miscadmin.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(wbcache_stat_warmup_counters);

/* Who has had no turn for so long is keeper no more. */
#define KEEPER_LEASE	(10 * USECS_PER_SEC)

/* Longest time between two turns. */
#define TURN_SELDOM		(1 * USECS_PER_SEC)

typedef struct Place
{
	Oid			dbid;			/* InvalidOid: free */
	pid_t		keeper;			/* 0: nobody */
	TimestampTz turn_at;		/* its last turn */
	WbcHotkeys	hotkeys;
} Place;

static Place *places;			/* all of it: lock */
static LWLock *lock;

static Size
places_size(void)
{
	return sizeof(Place) * WBC_DATABASES_MAX;
}

static void
places_attach(void *at, LWLockPadded *locks, bool found)
{
	places = at;
	lock = &locks[0].lock;
	if (!found)
		memset(places, 0, places_size());
}

void
wbc_hotkey_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_hotkey",
		.nlocks = 1,
		.size = places_size,
		.attach = places_attach
	};

	wbc_shmem_register(&piece);
}

/* ----------------------------------------------------------------
 * The keeper
 * ----------------------------------------------------------------
 */

/* Returns NULL when there is none.  Hold the lock. */
static Place *
find_place(Oid dbid)
{
	for (int i = 0; i < WBC_DATABASES_MAX; i++)
		if (places[i].dbid == dbid)
			return &places[i];
	return NULL;
}

/*
 * The place of this database, made if need be: a free one, else that of a
 * database that nobody serves.  Hold the lock.
 */
static Place *
find_or_make_place(void)
{
	Place	   *place = find_place(MyDatabaseId);

	if (place != NULL)
		return place;
	place = find_place(InvalidOid);
	for (int i = 0; i < WBC_DATABASES_MAX && place == NULL; i++)
		if (places[i].keeper == 0)
			place = &places[i];
	if (place != NULL)
	{
		memset(place, 0, sizeof(Place));
		place->dbid = MyDatabaseId;
	}
	return place;
}

/*
 * Makes this process the keeper, or lets it be.  Returns false when another one
 * is.  *is_new says that it was not before.
 */
static bool
become_keeper(TimestampTz now, WbcHotkeys *copy, bool *is_new)
{
	Place	   *place;
	bool		mine;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find_or_make_place();
	mine = place != NULL &&
		(place->keeper == 0 || place->keeper == MyProcPid ||
		 place->turn_at + KEEPER_LEASE < now);
	if (mine)
	{
		*is_new = place->keeper != MyProcPid;
		place->keeper = MyProcPid;
		place->turn_at = now;
		*copy = place->hotkeys;
	}
	LWLockRelease(lock);

	return mine;
}

/* Unless another one has taken over meanwhile. */
static void
put_back(const WbcHotkeys *copy)
{
	Place	   *place;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find_place(MyDatabaseId);
	if (place != NULL && place->keeper == MyProcPid)
		place->hotkeys = *copy;
	LWLockRelease(lock);
}

static void
resign(int code, Datum arg)
{
	Place	   *place;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find_place(MyDatabaseId);
	if (place != NULL && place->keeper == MyProcPid)
		place->keeper = 0;
	LWLockRelease(lock);
}

static void
prepare(void)
{
	static bool prepared = false;

	if (!prepared)
		before_shmem_exit(resign, 0);
	prepared = true;
}

/* Returns when to come back. */
static TimestampTz
work(WbcHotkeys *state, TimestampTz now)
{
	switch (state->state)
	{
		case WBC_WARMUP_WAITING:
		case WBC_WARMUP_UNDER_WAY:
			return wbc_hotkey_warm_up(state, now);
		case WBC_WARMUP_NONE:
		case WBC_WARMUP_DONE:
		case WBC_WARMUP_GIVEN_UP:
			break;
	}
	return wbc_hotkey_note(state, now);
}

/*
 * Does a bit of what is due.  Sets when to call again.
 */
void
wbc_hotkey_run(TimestampTz now, TimestampTz *next)
{
	static TimestampTz next_turn = 0;
	WbcHotkeys	state;
	bool		is_new;

	if (!wbc_is_time(next_turn, now, TURN_SELDOM))
	{
		*next = next_turn;
		return;
	}
	*next = next_turn = now + TURN_SELDOM;
	if (RecoveryInProgress())
		return;

	prepare();
	if (!become_keeper(now, &state, &is_new))
	{
		wbc_hotkey_forget_warmup();
		return;
	}
	if (is_new)
	{
		wbc_hotkey_forget_note();
		wbc_hotkey_forget_warmup();
	}
	*next = next_turn = Min(work(&state, now), now + TURN_SELDOM);
	put_back(&state);
}

/*
 * Can this key be fetched?  Its endpoint must have a source, and the key no
 * owner: what a role keeps by get_with_swr() is nobody else's business.
 * wbc_endpoint_prepare() has been called.
 */
bool
wbc_hotkey_can_fetch(const WbcKey *key, WbcRoute *route)
{
	return !OidIsValid(key->scope) && wbc_endpoint_route(key, route) &&
		wbc_endpoint_source(route->endpoint) != WBC_SOURCE_NONE;
}

/* ----------------------------------------------------------------
 * SQL
 * ----------------------------------------------------------------
 */

static const char *
state_name(WbcWarmupState state)
{
	switch (state)
	{
		case WBC_WARMUP_WAITING:
			return "waiting";
		case WBC_WARMUP_UNDER_WAY:
			return "under way";
		case WBC_WARMUP_NONE:
			return "none";
		case WBC_WARMUP_DONE:
			return "done";
		case WBC_WARMUP_GIVEN_UP:
			return "given up";
	}
	return NULL;				/* keep compiler quiet */
}

Datum
wbcache_stat_warmup_counters(PG_FUNCTION_ARGS)
{
	WbcHotkeys	state = {0};
	Datum		values[8];
	bool		nulls[8] = {false};
	TupleDesc	desc;
	Place	   *place;

	wbc_shmem_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	LWLockAcquire(lock, LW_SHARED);
	place = find_place(MyDatabaseId);
	if (place != NULL)
		state = place->hotkeys;
	LWLockRelease(lock);

	values[0] = TimestampTzGetDatum(state.noted_at);
	nulls[0] = state.noted_at == 0;
	values[1] = CStringGetTextDatum(state_name(state.state));
	values[2] = Int64GetDatum(state.wanted);
	values[3] = Int64GetDatum(state.back);
	values[4] = Int64GetDatum(state.under_way);
	values[5] = Int64GetDatum(state.failed);
	values[6] = TimestampTzGetDatum(state.started_at);
	nulls[6] = state.started_at == 0;
	values[7] = TimestampTzGetDatum(state.ended_at);
	nulls[7] = state.ended_at == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
