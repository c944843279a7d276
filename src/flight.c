/*-------------------------------------------------------------------------
 *
 * flight.c
 *	  Fetches in progress, and everyone who waits for them.
 *
 * Layer 3.  A flight is one fetch of one key.  It is made by a reader who
 * finds nothing to join, taken from its database's lane by a process that
 * carries it out (the fetcher, or one of the loaders), and landed by that
 * process with a result that all waiters share:
 *
 *		FREE -> QUEUED -> UNDER_WAY -> LANDED -> FREE
 *
 * QUEUED may also go to LANDED at once: the fetch was refused.  A process that
 * ends puts what it had in hand back into the queue; what was under way takes
 * off again.
 *
 * A key has at most two flights: one under way and one queued behind it.  A
 * queued flight reads the generations later than now, so that anybody may
 * join it; one under way may be joined only while the generations it has read
 * are still current.  That is what keeps a reader who came after an
 * invalidation from getting a value that was fetched before it.
 *
 * Lock protocol.  One lock guards the table of flights, the lanes and the
 * lines; it is held for a few instructions, on misses and due refreshes only.
 * Partition locks of the memory tier may be taken under it (still_needed).
 * The state is atomic, so that waiters can look at it without the lock; it is
 * changed under the lock.  The result doesn't change once the state is LANDED.
 *
 * A lease is a flight that a client carries out: it is under way from the
 * beginning, holds the generations of that moment, and lands when the client's
 * set() commits.  The first who finds it overdue or outdated lands it as lost,
 * and it may be had again; who finds no free flight does so for all leases.
 *
 * A flight in advance is one that no client has asked for: the warmer has, or
 * the list of ahead.c.  It gives way to all others: it is the last to take off,
 * and a part of the flights, and of what a server allows, is not for it.  The
 * first client who joins it makes it one like any other.
 *
 * Everyone who waits holds a reference, and so does the table until landing.
 * Who drops the last one gives the flight back.  A waiter that leaves early,
 * by cancel or by the end of its session, harms nobody: see swr.c for how it
 * makes sure to leave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "flight.h"
#include "flight_table.h"
#include "guc.h"
#include "key.h"
#include "memory.h"
#include "miscadmin.h"
#include "shmem.h"
#include "stamp.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

Table	   *wbc_flights;
LWLock	   *wbc_flight_lock;
static HTAB *lines;

/* ----------------------------------------------------------------
 * The table
 * ----------------------------------------------------------------
 */

static uint32
line_hash(const void *key, Size size)
{
	return (uint32) ((const WbcKey *) key)->hash;
}

static int
line_compare(const void *a, const void *b, Size size)
{
	return wbc_key_equal(a, b) ? 0 : 1;
}

static void *
line_copy(void *to, const void *from, Size size)
{
	wbc_key_copy(to, from);
	return to;
}

static Size
table_size(void)
{
	return add_size(offsetof(Table, flights),
					mul_size(wbc_guc_max_flights, sizeof(Flight)));
}

static Size
lines_size(void)
{
	return hash_estimate_size(wbc_guc_max_flights, sizeof(Line));
}

static void
init_table(void)
{
	memset(wbc_flights, 0, table_size());
	if (!pg_strong_random(&wbc_flights->leases, sizeof(uint32)))
		wbc_flights->leases = 0;
	for (int i = 0; i < WBC_DATABASES_MAX; i++)
		for (int q = 0; q < WBC_CARRIERS; q++)
			wbc_flights->lanes[i].queue[q].head = wbc_flights->lanes[i].queue[q].tail = NONE;

	wbc_flights->free = NONE;
	wbc_flights->nfree = wbc_guc_max_flights;
	for (int f = wbc_guc_max_flights - 1; f >= 0; f--)
	{
		pg_atomic_init_u32(&wbc_flights->flights[f].state, FLIGHT_FREE);
		ConditionVariableInit(&wbc_flights->flights[f].landed);
		wbc_flights->flights[f].next = wbc_flights->free;
		wbc_flights->free = f;
	}
}

static void
table_attach(void *place, LWLockPadded *locks, bool found)
{
	HASHCTL		info = {
		.keysize = sizeof(WbcKey),
		.entrysize = sizeof(Line),
		.hash = line_hash,
		.match = line_compare,
		.keycopy = line_copy
	};

	wbc_flights = place;
	wbc_flight_lock = &locks[0].lock;
	if (!found)
		init_table();
	lines = ShmemInitHash("wbcache_flight lines",
						  wbc_guc_max_flights, wbc_guc_max_flights, &info,
						  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
						  HASH_KEYCOPY);
}

void
wbc_flight_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_flight",
		.nlocks = 1,
		.size = table_size,
		.extra = lines_size,
		.attach = table_attach
	};

	wbc_shmem_register(&piece);
}

Line *
wbc_flight_line(const WbcKey *key)
{
	return hash_search_with_hash_value(lines, key, line_hash(key, 0),
									   HASH_FIND, NULL);
}

void
wbc_flight_forget_line(const WbcKey *key)
{
	(void) hash_search_with_hash_value(lines, key, line_hash(key, 0),
									   HASH_REMOVE, NULL);
}

/*
 * Drops a reference.  When it was the last, the flight is free and the entry
 * to unpin after releasing the lock is returned.  Hold the lock.
 */
dsa_pointer
wbc_flight_drop_ref(int f)
{
	Flight	   *flight = &wbc_flights->flights[f];

	if (--flight->refs > 0)
		return InvalidDsaPointer;

	Assert(wbc_flight_state(flight) == FLIGHT_LANDED);
	pg_atomic_write_u32(&flight->state, FLIGHT_FREE);
	flight->next = wbc_flights->free;
	wbc_flights->free = f;
	wbc_flights->nfree++;
	return flight->result.failed ? InvalidDsaPointer : flight->result.value;
}

/* ----------------------------------------------------------------
 * For readers
 * ----------------------------------------------------------------
 */

/* May a reader who comes now share this line's flight under way? */
static bool
may_join_under_way(const Line *line, const WbcFlightAsk *ask)
{
	return line->under_way != NONE && !ask->must_start_later &&
		wbc_stamp_is_current(&line->key,
							 &wbc_flights->flights[line->under_way].stamp);
}

/*
 * Has another client this flight in hand, which can't be shared?  There is no
 * second lease beside it.
 */
static bool
is_leased(const Line *line, const WbcFlightAsk *ask)
{
	return ask->carrier == WBC_CARRIER_CLIENT &&
		line != NULL && line->under_way != NONE;
}

static void
fill_flight(Flight *flight, const WbcFlightAsk *ask, int lane)
{
	flight->refs = 1;
	flight->attempts = 0;
	flight->lane = lane;
	flight->carrier = ask->carrier;
	flight->ad_hoc = ask->ad_hoc;
	flight->in_advance = ask->in_advance;
	flight->pid = 0;
	flight->lease = 0;
	flight->took_off_at = 0;
	flight->asked_at = ask->now;
	wbc_key_copy(&flight->key, ask->key);
}

/*
 * Hands the flight to the client that asked for it.
 */
static void
give_lease(int f, Line *line, const WbcFlightAsk *ask)
{
	Flight	   *flight = &wbc_flights->flights[f];

	flight->lease = ++wbc_flights->leases;
	flight->lease_until = ask->lease_until;
	flight->stamp = *ask->stamp;
	line->under_way = f;
	pg_atomic_write_u32(&flight->state, FLIGHT_UNDER_WAY);
}

/*
 * Is there room?  All of it is for clients who wait for what an endpoint gets by
 * itself.  Others leave them a part: flights in advance, leases, which nobody may
 * use, and keys without an endpoint, whose loaders anybody may have made.
 */
static bool
has_room(const WbcFlightAsk *ask)
{
	int			used = wbc_guc_max_flights - wbc_flights->nfree;

	if (ask->in_advance || ask->carrier == WBC_CARRIER_CLIENT ||
		OidIsValid(ask->ad_hoc.loader))
		return used < wbc_flight_share_in_advance(wbc_guc_max_flights);
	return wbc_flights->nfree > 0;
}

/*
 * Makes a flight.  A lease is under way at once; any other is queued, behind
 * the one under way if there is one.  Hold the lock.
 */
static WbcJoin
make_flight(const WbcFlightAsk *ask, int *made)
{
	const WbcKey *key = ask->key;
	int			l = wbc_flight_lane(key->dbid);
	Line	   *line;
	bool		found;
	int			f;

	if (l == NONE && ask->carrier != WBC_CARRIER_CLIENT)
		return WBC_JOIN_NO_WORKER;
	if (!has_room(ask))
	{
		wbc_flight_lose_overdue(ask->now);
		if (!has_room(ask))
			return WBC_JOIN_FULL;
	}
	f = wbc_flights->free;
	line = hash_search_with_hash_value(lines, key, line_hash(key, 0),
									   HASH_ENTER_NULL, &found);
	if (line == NULL)
		return WBC_JOIN_FULL;
	if (!found)
		line->under_way = line->queued = NONE;

	wbc_flights->free = wbc_flights->flights[f].next;
	wbc_flights->nfree--;
	fill_flight(&wbc_flights->flights[f], ask, l);
	*made = f;
	if (ask->carrier == WBC_CARRIER_CLIENT)
	{
		give_lease(f, line, ask);
		return WBC_JOIN_STARTED;
	}
	line->queued = f;
	pg_atomic_write_u32(&wbc_flights->flights[f].state, FLIGHT_QUEUED);
	if (line->under_way == NONE)
		wbc_flight_enqueue(f);
	return WBC_JOIN_STARTED;
}

/*
 * Joins the key's flight, or makes one.  With will_wait, and when the answer
 * is STARTED or JOINED, the caller holds a reference that it must give back by
 * wbc_flight_leave(), whatever happens.
 */
WbcJoin
wbc_flight_join(const WbcFlightAsk *ask, int *flight)
{
	WbcJoin		answer = WBC_JOIN_JOINED;
	int			f;
	Line	   *line;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	line = wbc_flight_line(ask->key);
	if (line != NULL && line->under_way != NONE &&
		wbc_flight_is_lease_lost(&wbc_flights->flights[line->under_way], ask->now))
	{
		wbc_flight_lose(line);
		line = wbc_flight_line(ask->key);
	}
	if (line != NULL && line->queued != NONE)
		f = line->queued;
	else if (line != NULL && may_join_under_way(line, ask))
		f = line->under_way;
	else if (ask->join_only || is_leased(line, ask) ||
			 (ask->still_needed != NULL && !ask->still_needed(ask->arg)))
		answer = WBC_JOIN_NOT_NEEDED;
	else
		answer = make_flight(ask, &f);
	if (answer == WBC_JOIN_JOINED && !ask->in_advance)
		wbc_flight_ask_for(f);

	if (ask->will_wait &&
		(answer == WBC_JOIN_STARTED || answer == WBC_JOIN_JOINED))
	{
		wbc_flights->flights[f].refs++;
		*flight = f;
	}
	LWLockRelease(wbc_flight_lock);

	return answer;
}

/*
 * If the flight is a lease that is overdue, lands it as lost.
 */
static void
check_lease(int flight, TimestampTz now)
{
	Line	   *line;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	line = wbc_flight_line(&wbc_flights->flights[flight].key);
	if (line != NULL && line->under_way == flight &&
		wbc_flight_is_lease_lost(&wbc_flights->flights[flight], now))
		wbc_flight_lose(line);
	LWLockRelease(wbc_flight_lock);
}

/*
 * Sleeps until the flight has landed or the deadline has passed; returns
 * whether it has landed.  Throws on cancel and the like.
 */
bool
wbc_flight_wait(int flight, TimestampTz deadline)
{
	static uint32 wait_event = 0;
	Flight	   *awaited = &wbc_flights->flights[flight];
	TimestampTz wake_at = deadline;
	bool		landed;

	if (wait_event == 0)
		wait_event = wbc_compat_wait_event("WbcacheFlight");
	if (awaited->lease != 0)
		wake_at = Min(deadline, awaited->lease_until);

	ConditionVariablePrepareToSleep(&awaited->landed);
	while (!(landed = (wbc_flight_state(awaited) == FLIGHT_LANDED)))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (awaited->lease != 0 && awaited->lease_until <= now)
			check_lease(flight, now);
		else if (deadline <= now)
			break;
		else
			ConditionVariableTimedSleep(&awaited->landed,
										TimestampDifferenceMilliseconds(now, wake_at),
										wait_event);
	}
	ConditionVariableCancelSleep();

	pg_read_barrier();
	return landed;
}

/*
 * How a landed flight ended; valid as long as the caller has its reference.
 */
const WbcFlightResult *
wbc_flight_result(int flight)
{
	Assert(wbc_flight_state(&wbc_flights->flights[flight]) == FLIGHT_LANDED);
	return &wbc_flights->flights[flight].result;
}

/*
 * When the flight took off, 0 if it didn't yet.  For a caller with a reference.
 */
TimestampTz
wbc_flight_took_off_at(int flight)
{
	TimestampTz at;

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	at = wbc_flights->flights[flight].took_off_at;
	LWLockRelease(wbc_flight_lock);
	return at;
}

/*
 * Gives a reference back.  Never throws.
 */
void
wbc_flight_leave(int flight)
{
	dsa_pointer last;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	last = wbc_flight_drop_ref(flight);
	LWLockRelease(wbc_flight_lock);

	if (DsaPointerIsValid(last))
		wbc_memory_unpin(last);
}

/* ----------------------------------------------------------------
 * For the views
 * ----------------------------------------------------------------
 */

/*
 * How many flights of a database wait for this kind of carrier, and how many it
 * has under way.
 */
void
wbc_flight_count_of(Oid dbid, WbcCarrier carrier, int *queued, int *under_way)
{
	*queued = *under_way = 0;

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		const Flight *flight = &wbc_flights->flights[f];

		if (flight->key.dbid != dbid || flight->carrier != carrier)
			continue;
		*queued += wbc_flight_state(flight) == FLIGHT_QUEUED;
		*under_way += wbc_flight_state(flight) == FLIGHT_UNDER_WAY;
	}
	LWLockRelease(wbc_flight_lock);
}

/*
 * The same for all of them together.
 */
void
wbc_flight_count(int *queued, int *under_way)
{
	*queued = *under_way = 0;

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		FlightState state = wbc_flight_state(&wbc_flights->flights[f]);

		*queued += state == FLIGHT_QUEUED;
		*under_way += state == FLIGHT_UNDER_WAY;
	}
	LWLockRelease(wbc_flight_lock);
}
