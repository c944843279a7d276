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
 * and it may be had again.
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
#include "error.h"
#include "flight.h"
#include "guc.h"
#include "key.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "shmem.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/* Databases that can have a fetcher. */
#define LANES	64

/* Processes that serve one database: a fetcher and its loaders. */
#define CREW_MAX	33

/* Take-offs before a flight is given up because its fetchers keep ending. */
#define ATTEMPTS_MAX	3

#define NONE	(-1)

typedef enum FlightState
{
	FLIGHT_FREE,
	FLIGHT_QUEUED,
	FLIGHT_UNDER_WAY,
	FLIGHT_LANDED
} FlightState;

typedef struct Flight
{
	pg_atomic_uint32 state;		/* FlightState; written under the lock */
	int			refs;			/* lock; waiters, + 1 until landing */
	int			attempts;		/* lock; take-offs so far */
	int			lane;			/* lock */
	WbcCarrier	carrier;		/* lock */
	WbcAdHoc	ad_hoc;			/* set when made */
	int			next;			/* lock; in a queue or the free list */
	pid_t		pid;			/* lock; who has it in hand, 0: nobody */
	uint64		lease;			/* set when made; 0: none */
	TimestampTz lease_until;	/* set when made */
	TimestampTz took_off_at;	/* lock; the last time */
	WbcKey		key;			/* set when made */
	WbcStamp	stamp;			/* lock; set at take-off */
	WbcFlightResult result;		/* set before LANDED */
	ConditionVariable landed;
} Flight;

/* The flights of one key. */
typedef struct Line
{
	WbcKey		key;			/* hash key; must be first */
	int			under_way;		/* flight or NONE */
	int			queued;			/* flight or NONE */
} Line;

/* Flights that wait for a carrier, first come first served. */
typedef struct Queue
{
	int			head;			/* flight or NONE */
	int			tail;
} Queue;

/* A process that carries flights out. */
typedef struct Crew
{
	pid_t		pid;			/* 0: free */
	int			procno;
	WbcCarrier	carrier;
	bool		idle;			/* found its queue empty since it was woken */
} Crew;

/* The flights of a database, and who carries them out. */
typedef struct Lane
{
	Oid			dbid;			/* InvalidOid: free */
	Queue		queue[WBC_CARRIERS];
	Crew		crew[CREW_MAX];
} Lane;

typedef struct Table
{
	int			free;			/* first free flight, or NONE */
	uint64		leases;			/* given so far */
	Lane		lanes[LANES];
	Flight		flights[FLEXIBLE_ARRAY_MEMBER];
} Table;

static Table *table;
static HTAB *lines;
static LWLock *lock;

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
	memset(table, 0, table_size());
	if (!pg_strong_random(&table->leases, sizeof(uint32)))
		table->leases = 0;
	for (int i = 0; i < LANES; i++)
		for (int q = 0; q < WBC_CARRIERS; q++)
			table->lanes[i].queue[q].head = table->lanes[i].queue[q].tail = NONE;

	table->free = NONE;
	for (int f = wbc_guc_max_flights - 1; f >= 0; f--)
	{
		pg_atomic_init_u32(&table->flights[f].state, FLIGHT_FREE);
		ConditionVariableInit(&table->flights[f].landed);
		table->flights[f].next = table->free;
		table->free = f;
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

	table = place;
	lock = &locks[0].lock;
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

static FlightState
state_of(const Flight *flight)
{
	return pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &flight->state));
}

static Line *
find_line(const WbcKey *key)
{
	return hash_search_with_hash_value(lines, key, line_hash(key, 0),
									   HASH_FIND, NULL);
}

static void
forget_line(const WbcKey *key)
{
	(void) hash_search_with_hash_value(lines, key, line_hash(key, 0),
									   HASH_REMOVE, NULL);
}

/*
 * Drops a reference.  When it was the last, the flight is free and the entry
 * to unpin after releasing the lock is returned.  Hold the lock.
 */
static dsa_pointer
drop_ref(int f)
{
	Flight	   *flight = &table->flights[f];

	if (--flight->refs > 0)
		return InvalidDsaPointer;

	Assert(state_of(flight) == FLIGHT_LANDED);
	pg_atomic_write_u32(&flight->state, FLIGHT_FREE);
	flight->next = table->free;
	table->free = f;
	return flight->result.failed ? InvalidDsaPointer : flight->result.value;
}

/* ----------------------------------------------------------------
 * Lanes.  Hold the lock in all of the static functions.
 * ----------------------------------------------------------------
 */

static int
find_lane(Oid dbid)
{
	for (int i = 0; i < LANES; i++)
		if (table->lanes[i].dbid == dbid)
			return i;
	return NONE;
}

static int
find_or_make_lane(Oid dbid)
{
	int			l = find_lane(dbid);

	if (l == NONE)
	{
		l = find_lane(InvalidOid);
		if (l != NONE)
			table->lanes[l].dbid = dbid;
	}
	return l;
}

/*
 * Wakes somebody who can carry this flight out.  Who isn't idle looks into the
 * queue by himself before he sleeps.
 */
static void
wake_crew(Lane *lane, WbcCarrier carrier)
{
	for (int i = 0; i < CREW_MAX; i++)
	{
		Crew	   *crew = &lane->crew[i];

		if (crew->pid == 0 || crew->carrier != carrier || !crew->idle)
			continue;
		crew->idle = false;
		SetLatch(&ProcGlobal->allProcs[crew->procno].procLatch);
		return;
	}
}

static void
enqueue(int f)
{
	Flight	   *flight = &table->flights[f];
	Lane	   *lane = &table->lanes[flight->lane];
	Queue	   *queue = &lane->queue[flight->carrier];

	flight->next = NONE;
	flight->pid = 0;
	if (queue->tail == NONE)
		queue->head = f;
	else
		table->flights[queue->tail].next = f;
	queue->tail = f;
	wake_crew(lane, flight->carrier);
}

/* Returns NULL when there is none. */
static Crew *
find_crew(Lane *lane, pid_t pid)
{
	for (int i = 0; i < CREW_MAX; i++)
		if (lane->crew[i].pid == pid)
			return &lane->crew[i];
	return NULL;
}

static bool
has_carrier(const Lane *lane, WbcCarrier carrier)
{
	for (int i = 0; i < CREW_MAX; i++)
		if (lane->crew[i].pid != 0 && lane->crew[i].carrier == carrier)
			return true;
	return false;
}

/*
 * Makes this process one of those that carry out a database's flights.
 * Returns the lane, or -1 when there is no place: a database has one fetcher.
 */
int
wbc_flight_open_lane(Oid dbid, WbcCarrier carrier)
{
	Crew	   *crew = NULL;
	int			l;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	l = find_or_make_lane(dbid);
	if (l != NONE && (carrier != WBC_CARRIER_FETCHER ||
					  !has_carrier(&table->lanes[l], carrier)))
		crew = find_crew(&table->lanes[l], 0);
	if (crew != NULL)
	{
		crew->pid = MyProcPid;
		crew->procno = wbc_compat_my_procno();
		crew->carrier = carrier;
		crew->idle = false;
	}
	LWLockRelease(lock);

	return crew != NULL ? l : NONE;
}

/*
 * This process ends.  What it had in hand is for another one, or its
 * successor, to start again.
 */
void
wbc_flight_close_lane(int lane)
{
	Crew	   *crew;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	crew = find_crew(&table->lanes[lane], MyProcPid);
	if (crew != NULL)
		crew->pid = 0;
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		Flight	   *flight = &table->flights[f];
		FlightState state = state_of(flight);

		if (flight->pid == MyProcPid &&
			(state == FLIGHT_QUEUED || state == FLIGHT_UNDER_WAY))
			enqueue(f);
	}
	LWLockRelease(lock);
}

/*
 * Makes a lane for a database whose fetcher is about to start.  Returns false
 * when none is left.
 */
bool
wbc_flight_reserve_lane(Oid dbid)
{
	int			l;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	l = find_or_make_lane(dbid);
	LWLockRelease(lock);

	return l != NONE;
}

/* Is there nobody and nothing in it? */
static bool
is_idle(const Lane *lane)
{
	for (int carrier = 0; carrier < WBC_CARRIERS; carrier++)
		if (lane->queue[carrier].head != NONE || has_carrier(lane, carrier))
			return false;
	return true;
}

/*
 * Nobody will carry out this database's flights any more: lands them all with
 * the error, and forgets the lane, unless somebody is still there.
 */
void
wbc_flight_drop_lane(Oid dbid, const WbcError *error)
{
	WbcFlightResult failed = {.failed = true};
	bool		manned[WBC_CARRIERS];
	int			l;
	int			f;

	failed.error = *error;
	LWLockAcquire(lock, LW_SHARED);
	l = find_lane(dbid);
	for (int carrier = 0; l != NONE && carrier < WBC_CARRIERS; carrier++)
		manned[carrier] = has_carrier(&table->lanes[l], carrier);
	LWLockRelease(lock);
	if (l == NONE)
		return;

	for (int carrier = 0; carrier < WBC_CARRIERS; carrier++)
		while (!manned[carrier] && (f = wbc_flight_next(l, carrier)) != NONE)
			wbc_flight_land(f, &failed);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (table->lanes[l].dbid == dbid && is_idle(&table->lanes[l]))
		table->lanes[l].dbid = InvalidOid;
	LWLockRelease(lock);
}

/* ----------------------------------------------------------------
 * For readers
 * ----------------------------------------------------------------
 */

static bool
is_lease_lost(const Flight *flight, TimestampTz now)
{
	return flight->lease != 0 &&
		(flight->lease_until <= now ||
		 !wbc_generation_stamp_is_current(&flight->stamp));
}

/*
 * Lands a lease that will not be used any more.  Hold the lock.
 */
static void
lose_lease(Line *line)
{
	int			f = line->under_way;
	Flight	   *flight = &table->flights[f];

	flight->result.failed = true;
	wbc_error_set(&flight->result.error, WBC_ERRCODE_LEASE_LOST,
				  "the lease was not used in time");
	pg_write_barrier();
	pg_atomic_write_u32(&flight->state, FLIGHT_LANDED);
	line->under_way = NONE;
	if (line->queued == NONE)
		forget_line(&flight->key);
	(void) drop_ref(f);
	ConditionVariableBroadcast(&flight->landed);
}

/* May a reader who comes now share this line's flight under way? */
static bool
may_join_under_way(const Line *line, const WbcFlightAsk *ask)
{
	return line->under_way != NONE && !ask->must_start_later &&
		wbc_generation_stamp_is_current(&table->flights[line->under_way].stamp);
}

static void
fill_flight(Flight *flight, const WbcFlightAsk *ask, int lane)
{
	flight->refs = 1;
	flight->attempts = 0;
	flight->lane = lane;
	flight->carrier = ask->carrier;
	flight->ad_hoc = ask->ad_hoc;
	flight->pid = 0;
	flight->lease = 0;
	flight->took_off_at = 0;
	wbc_key_copy(&flight->key, ask->key);
}

/*
 * Hands the flight to the client that asked for it.
 */
static void
give_lease(int f, Line *line, const WbcFlightAsk *ask)
{
	Flight	   *flight = &table->flights[f];

	flight->lease = ++table->leases;
	flight->lease_until = ask->lease_until;
	flight->stamp = *ask->stamp;
	line->under_way = f;
	pg_atomic_write_u32(&flight->state, FLIGHT_UNDER_WAY);
}

/*
 * Makes a flight.  A lease is under way at once; any other is queued, behind
 * the one under way if there is one.  Hold the lock.
 */
static WbcJoin
make_flight(const WbcFlightAsk *ask, int *made)
{
	const WbcKey *key = ask->key;
	int			l = find_lane(key->dbid);
	int			f = table->free;
	Line	   *line;
	bool		found;

	if (l == NONE && ask->carrier != WBC_CARRIER_CLIENT)
		return WBC_JOIN_NO_WORKER;
	if (f == NONE)
		return WBC_JOIN_FULL;
	line = hash_search_with_hash_value(lines, key, line_hash(key, 0),
									   HASH_ENTER_NULL, &found);
	if (line == NULL)
		return WBC_JOIN_FULL;
	if (!found)
		line->under_way = line->queued = NONE;

	table->free = table->flights[f].next;
	fill_flight(&table->flights[f], ask, l);
	*made = f;
	if (ask->carrier == WBC_CARRIER_CLIENT)
	{
		give_lease(f, line, ask);
		return WBC_JOIN_STARTED;
	}
	line->queued = f;
	pg_atomic_write_u32(&table->flights[f].state, FLIGHT_QUEUED);
	if (line->under_way == NONE)
		enqueue(f);
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

	LWLockAcquire(lock, LW_EXCLUSIVE);
	line = find_line(ask->key);
	if (line != NULL && line->under_way != NONE &&
		is_lease_lost(&table->flights[line->under_way], ask->now))
	{
		lose_lease(line);
		line = find_line(ask->key);
	}
	if (line != NULL && line->queued != NONE)
		f = line->queued;
	else if (line != NULL && may_join_under_way(line, ask))
		f = line->under_way;
	else if (ask->join_only ||
			 (ask->still_needed != NULL && !ask->still_needed(ask->arg)))
		answer = WBC_JOIN_NOT_NEEDED;
	else
		answer = make_flight(ask, &f);

	if (ask->will_wait &&
		(answer == WBC_JOIN_STARTED || answer == WBC_JOIN_JOINED))
	{
		table->flights[f].refs++;
		*flight = f;
	}
	LWLockRelease(lock);

	return answer;
}

/*
 * If the flight is a lease that is overdue, lands it as lost.
 */
static void
check_lease(int flight, TimestampTz now)
{
	Line	   *line;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	line = find_line(&table->flights[flight].key);
	if (line != NULL && line->under_way == flight &&
		is_lease_lost(&table->flights[flight], now))
		lose_lease(line);
	LWLockRelease(lock);
}

/*
 * Sleeps until the flight has landed or the deadline has passed; returns
 * whether it has landed.  Throws on cancel and the like.
 */
bool
wbc_flight_wait(int flight, TimestampTz deadline)
{
	static uint32 wait_event = 0;
	Flight	   *awaited = &table->flights[flight];
	TimestampTz wake_at = deadline;
	bool		landed;

	if (wait_event == 0)
		wait_event = wbc_compat_wait_event("WbcacheFlight");
	if (awaited->lease != 0)
		wake_at = Min(deadline, awaited->lease_until);

	ConditionVariablePrepareToSleep(&awaited->landed);
	while (!(landed = (state_of(awaited) == FLIGHT_LANDED)))
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
	Assert(state_of(&table->flights[flight]) == FLIGHT_LANDED);
	return &table->flights[flight].result;
}

/*
 * When the flight took off, 0 if it didn't yet.  For a caller with a reference.
 */
TimestampTz
wbc_flight_took_off_at(int flight)
{
	TimestampTz at;

	LWLockAcquire(lock, LW_SHARED);
	at = table->flights[flight].took_off_at;
	LWLockRelease(lock);
	return at;
}

/*
 * Gives a reference back.  Never throws.
 */
void
wbc_flight_leave(int flight)
{
	dsa_pointer last;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	last = drop_ref(flight);
	LWLockRelease(lock);

	if (DsaPointerIsValid(last))
		wbc_memory_unpin(last);
}

/* ----------------------------------------------------------------
 * Leases
 * ----------------------------------------------------------------
 */

/*
 * The name of a lease, for the client that got it.
 */
uint64
wbc_flight_lease(int flight)
{
	return table->flights[flight].lease;
}

/* Hold the lock.  Returns -1 when there is no such lease. */
static int
find_lease(const WbcKey *key, uint64 lease)
{
	const Line *line = find_line(key);

	if (lease == 0 || line == NULL || line->under_way == NONE ||
		table->flights[line->under_way].lease != lease)
		return NONE;
	return line->under_way;
}

/*
 * The generations that a lease has recorded.  Returns false when it is not to
 * be had any more.
 */
bool
wbc_flight_lease_stamp(const WbcKey *key, uint64 lease, TimestampTz now,
					   WbcStamp *stamp)
{
	int			f;

	LWLockAcquire(lock, LW_SHARED);
	f = find_lease(key, lease);
	if (f != NONE && is_lease_lost(&table->flights[f], now))
		f = NONE;
	if (f != NONE)
		*stamp = table->flights[f].stamp;
	LWLockRelease(lock);

	return f != NONE;
}

/*
 * The lease was used: its waiters get the value.  Takes over the caller's pin
 * of it.
 */
void
wbc_flight_land_lease(const WbcKey *key, uint64 lease, dsa_pointer value)
{
	WbcFlightResult result = {.value = value};
	int			f;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	f = find_lease(key, lease);
	if (f != NONE)
		table->flights[f].lease = 0;	/* nobody else may land it now */
	LWLockRelease(lock);

	if (f != NONE)
		wbc_flight_land(f, &result);
	else
		wbc_memory_unpin(value);
}

/*
 * The lease will not be used: whoever waits for it may have the next one.
 */
void
wbc_flight_lose_lease(const WbcKey *key, uint64 lease)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (find_lease(key, lease) != NONE)
		lose_lease(find_line(key));
	LWLockRelease(lock);
}

/* ----------------------------------------------------------------
 * For those who carry flights out
 * ----------------------------------------------------------------
 */

/*
 * Takes the next flight out of a queue, or returns -1; then this process's
 * latch will be set when there is one.  The flight stays QUEUED, and can be
 * joined, until wbc_flight_take_off().
 */
int
wbc_flight_next(int lane, WbcCarrier carrier)
{
	Queue	   *queue = &table->lanes[lane].queue[carrier];
	Crew	   *crew;
	int			f;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	crew = find_crew(&table->lanes[lane], MyProcPid);
	f = queue->head;
	if (f != NONE)
	{
		queue->head = table->flights[f].next;
		if (queue->head == NONE)
			queue->tail = NONE;
		table->flights[f].pid = MyProcPid;
	}
	if (crew != NULL)
		crew->idle = f == NONE;
	LWLockRelease(lock);

	return f;
}

/*
 * This flight is not for this process, but for the other kind.
 */
void
wbc_flight_hand_over(int flight, WbcCarrier carrier)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	table->flights[flight].carrier = carrier;
	enqueue(flight);
	LWLockRelease(lock);
}

/*
 * For who has taken a flight.
 */
const WbcKey *
wbc_flight_key(int flight)
{
	return &table->flights[flight].key;
}

const WbcAdHoc *
wbc_flight_ad_hoc(int flight)
{
	return &table->flights[flight].ad_hoc;
}

bool
wbc_flight_has_waiters(int flight)
{
	bool		answer;

	LWLockAcquire(lock, LW_SHARED);
	answer = table->flights[flight].refs > 1;
	LWLockRelease(lock);

	return answer;
}

/*
 * The fetch begins: nothing has been read from the source yet, and the stamp
 * was taken before this call.  Returns false when the flight has started so
 * often that it should be given up.
 */
bool
wbc_flight_take_off(int flight, const WbcStamp *stamp, TimestampTz now)
{
	Flight	   *departing = &table->flights[flight];
	Line	   *line;
	bool		goes;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	goes = departing->attempts++ < ATTEMPTS_MAX;
	if (goes)
	{
		line = find_line(&departing->key);
		if (line->queued == flight)
			line->queued = NONE;
		line->under_way = flight;
		departing->stamp = *stamp;
		departing->took_off_at = now;
		pg_atomic_write_u32(&departing->state, FLIGHT_UNDER_WAY);
	}
	LWLockRelease(lock);

	return goes;
}

/*
 * Ends a flight, whether or not it had taken off, and wakes all who wait for
 * it.  Takes over the caller's pin of the result's value.
 */
void
wbc_flight_land(int flight, const WbcFlightResult *result)
{
	Flight	   *landing = &table->flights[flight];
	dsa_pointer last;
	Line	   *line;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	landing->result = *result;
	pg_write_barrier();
	pg_atomic_write_u32(&landing->state, FLIGHT_LANDED);

	line = find_line(&landing->key);
	if (line->under_way == flight)
		line->under_way = NONE;
	else
		line->queued = NONE;
	if (line->queued != NONE)
		enqueue(line->queued);
	else if (line->under_way == NONE)
		forget_line(&landing->key);
	last = drop_ref(flight);
	LWLockRelease(lock);

	ConditionVariableBroadcast(&landing->landed);
	if (DsaPointerIsValid(last))
		wbc_memory_unpin(last);
}

/*
 * How many flights of a database wait for this kind of carrier, and how many it
 * has under way.
 */
void
wbc_flight_count_of(Oid dbid, WbcCarrier carrier, int *queued, int *under_way)
{
	*queued = *under_way = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		const Flight *flight = &table->flights[f];

		if (flight->key.dbid != dbid || flight->carrier != carrier)
			continue;
		*queued += state_of(flight) == FLIGHT_QUEUED;
		*under_way += state_of(flight) == FLIGHT_UNDER_WAY;
	}
	LWLockRelease(lock);
}

/*
 * The same for all of them together.
 */
void
wbc_flight_count(int *queued, int *under_way)
{
	*queued = *under_way = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		FlightState state = state_of(&table->flights[f]);

		*queued += state == FLIGHT_QUEUED;
		*under_way += state == FLIGHT_UNDER_WAY;
	}
	LWLockRelease(lock);
}
