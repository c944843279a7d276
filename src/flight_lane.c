/*-------------------------------------------------------------------------
 *
 * flight_lane.c
 *	  Who carries flights out: the lanes of the databases, with a queue for
 *	  each kind of carrier, and a flight's way from the queue to its landing.
 *
 * Layer 3, a part of flight.c, where the states and the lock protocol are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "flight.h"
#include "flight_table.h"
#include "guc.h"
#include "memory.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* ----------------------------------------------------------------
 * Lanes.  Hold the lock in all of the static functions.
 * ----------------------------------------------------------------
 */

int
wbc_flight_lane(Oid dbid)
{
	for (int i = 0; i < WBC_DATABASES_MAX; i++)
		if (wbc_flights->lanes[i].dbid == dbid)
			return i;
	return NONE;
}

static int
find_or_make_lane(Oid dbid)
{
	int			l = wbc_flight_lane(dbid);

	if (l == NONE)
	{
		l = wbc_flight_lane(InvalidOid);
		if (l != NONE)
			wbc_flights->lanes[l].dbid = dbid;
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

void
wbc_flight_enqueue(int f)
{
	Flight	   *flight = &wbc_flights->flights[f];
	Lane	   *lane = &wbc_flights->lanes[flight->lane];
	Queue	   *queue = &lane->queue[flight->carrier];

	flight->next = NONE;
	flight->pid = 0;
	if (queue->tail == NONE)
		queue->head = f;
	else
		wbc_flights->flights[queue->tail].next = f;
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

/*
 * A client has asked for this flight.  If it was in advance, who has it in hand
 * may have put it off; if nobody has, those that are idle may have left it to
 * others.
 */
void
wbc_flight_ask_for(int f)
{
	Flight	   *flight = &wbc_flights->flights[f];
	Crew	   *crew;

	if (!flight->in_advance)
		return;
	flight->in_advance = false;
	if (flight->pid == 0)
	{
		wake_crew(&wbc_flights->lanes[flight->lane], flight->carrier);
		return;
	}
	crew = find_crew(&wbc_flights->lanes[flight->lane], flight->pid);
	if (crew != NULL)
		SetLatch(&ProcGlobal->allProcs[crew->procno].procLatch);
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

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	l = find_or_make_lane(dbid);
	if (l != NONE && (carrier != WBC_CARRIER_FETCHER ||
					  !has_carrier(&wbc_flights->lanes[l], carrier)))
		crew = find_crew(&wbc_flights->lanes[l], 0);
	if (crew != NULL)
	{
		crew->pid = MyProcPid;
		crew->procno = wbc_compat_my_procno();
		crew->carrier = carrier;
		crew->idle = false;
	}
	LWLockRelease(wbc_flight_lock);

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

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	crew = find_crew(&wbc_flights->lanes[lane], MyProcPid);
	if (crew != NULL)
		crew->pid = 0;
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		Flight	   *flight = &wbc_flights->flights[f];
		FlightState state = wbc_flight_state(flight);

		if (flight->pid == MyProcPid &&
			(state == FLIGHT_QUEUED || state == FLIGHT_UNDER_WAY))
			wbc_flight_enqueue(f);
	}
	LWLockRelease(wbc_flight_lock);
}

/*
 * Has the database's fetcher look at what there is for it to do.
 */
void
wbc_flight_wake_fetcher(Oid dbid)
{
	int			l;

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	l = wbc_flight_lane(dbid);
	for (int i = 0; l != NONE && i < CREW_MAX; i++)
	{
		Crew	   *crew = &wbc_flights->lanes[l].crew[i];

		if (crew->pid != 0 && crew->carrier == WBC_CARRIER_FETCHER)
			SetLatch(&ProcGlobal->allProcs[crew->procno].procLatch);
	}
	LWLockRelease(wbc_flight_lock);
}

/*
 * Makes a lane for a database whose fetcher is about to start.  Returns false
 * when none is left.
 */
bool
wbc_flight_reserve_lane(Oid dbid)
{
	int			l;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	l = find_or_make_lane(dbid);
	LWLockRelease(wbc_flight_lock);

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
 * A database's flights of this kind will not be carried out: lands those that
 * wait with the error, unless somebody is there for them.  For the launcher,
 * which alone starts such processes.
 */
void
wbc_flight_refuse(Oid dbid, WbcCarrier carrier, const WbcError *error)
{
	WbcFlightResult failed = {.failed = true, .error = *error};
	int			l;
	int			f;

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	l = wbc_flight_lane(dbid);
	if (l != NONE && has_carrier(&wbc_flights->lanes[l], carrier))
		l = NONE;
	LWLockRelease(wbc_flight_lock);

	while (l != NONE && (f = wbc_flight_next(l, carrier)) != NONE)
		wbc_flight_land(f, &failed);
}

/*
 * Nobody will carry out this database's flights any more: lands them all with
 * the error, and forgets the lane, unless somebody is still there.
 */
void
wbc_flight_drop_lane(Oid dbid, const WbcError *error)
{
	int			l;

	for (int carrier = 0; carrier < WBC_CARRIERS; carrier++)
		wbc_flight_refuse(dbid, carrier, error);

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	l = wbc_flight_lane(dbid);
	if (l != NONE && is_idle(&wbc_flights->lanes[l]))
		wbc_flights->lanes[l].dbid = InvalidOid;
	LWLockRelease(wbc_flight_lock);
}

/* ----------------------------------------------------------------
 * For those who carry flights out
 * ----------------------------------------------------------------
 */

/*
 * Would a process that takes a flight in advance leave one for clients?  The
 * fetcher carries out many at a time, and knows better what it may do.
 */
static bool
leaves_one_idle(const Lane *lane, WbcCarrier carrier)
{
	int			others = 0;

	if (carrier == WBC_CARRIER_FETCHER)
		return true;
	for (int i = 0; i < CREW_MAX; i++)
	{
		const Crew *crew = &lane->crew[i];

		if (crew->pid == 0 || crew->pid == MyProcPid || crew->carrier != carrier)
			continue;
		if (crew->idle)
			return true;
		others++;
	}
	return others == 0;
}

/*
 * The first flight of a queue that a client has asked for, else the first, if it
 * may be taken now; with the one before it.  Hold the lock.
 */
static int
choose_flight(const Lane *lane, WbcCarrier carrier, int *before)
{
	const Queue *queue = &lane->queue[carrier];
	int			previous = NONE;

	*before = NONE;
	for (int f = queue->head; f != NONE; f = wbc_flights->flights[f].next)
	{
		if (!wbc_flights->flights[f].in_advance)
		{
			*before = previous;
			return f;
		}
		previous = f;
	}
	return leaves_one_idle(lane, carrier) ? queue->head : NONE;
}

/* Hold the lock. */
static void
unlink_flight(Queue *queue, int f, int before)
{
	int			next = wbc_flights->flights[f].next;

	if (before == NONE)
		queue->head = next;
	else
		wbc_flights->flights[before].next = next;
	if (queue->tail == f)
		queue->tail = before;
}

/*
 * Takes the next flight out of a queue, or returns -1; then this process's
 * latch will be set when there is one.  The flight stays QUEUED, and can be
 * joined, until wbc_flight_take_off().
 */
int
wbc_flight_next(int lane, WbcCarrier carrier)
{
	Queue	   *queue = &wbc_flights->lanes[lane].queue[carrier];
	Crew	   *crew;
	int			before;
	int			f;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	crew = find_crew(&wbc_flights->lanes[lane], MyProcPid);
	f = choose_flight(&wbc_flights->lanes[lane], carrier, &before);
	if (f != NONE)
	{
		unlink_flight(queue, f, before);
		wbc_flights->flights[f].pid = MyProcPid;
	}
	if (crew != NULL)
		crew->idle = f == NONE;
	LWLockRelease(wbc_flight_lock);

	return f;
}

/*
 * This flight is not for this process, but for the other kind.
 */
void
wbc_flight_hand_over(int flight, WbcCarrier carrier)
{
	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	wbc_flights->flights[flight].carrier = carrier;
	wbc_flight_enqueue(flight);
	LWLockRelease(wbc_flight_lock);
}

/*
 * For who has taken a flight.
 */
const WbcKey *
wbc_flight_key(int flight)
{
	return &wbc_flights->flights[flight].key;
}

/*
 * When the read came that it was made for.
 */
TimestampTz
wbc_flight_asked_at(int flight)
{
	return wbc_flights->flights[flight].asked_at;
}

const WbcAdHoc *
wbc_flight_ad_hoc(int flight)
{
	return &wbc_flights->flights[flight].ad_hoc;
}

WbcUrgency
wbc_flight_urgency(int flight)
{
	WbcUrgency	answer = WBC_URGENCY_WANTED;

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	if (wbc_flights->flights[flight].in_advance)
		answer = WBC_URGENCY_IN_ADVANCE;
	else if (wbc_flights->flights[flight].refs > 1)
		answer = WBC_URGENCY_WAITED_FOR;
	LWLockRelease(wbc_flight_lock);

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
	Flight	   *departing = &wbc_flights->flights[flight];
	Line	   *line;
	bool		goes;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	goes = departing->attempts++ < ATTEMPTS_MAX;
	if (goes)
	{
		line = wbc_flight_line(&departing->key);
		if (line->queued == flight)
			line->queued = NONE;
		line->under_way = flight;
		departing->stamp = *stamp;
		departing->took_off_at = now;
		pg_atomic_write_u32(&departing->state, FLIGHT_UNDER_WAY);
	}
	LWLockRelease(wbc_flight_lock);

	return goes;
}

/*
 * Ends a flight, whether or not it had taken off, and wakes all who wait for
 * it.  Takes over the caller's pin of the result's value.
 */
void
wbc_flight_land(int flight, const WbcFlightResult *result)
{
	Flight	   *landing = &wbc_flights->flights[flight];
	dsa_pointer last;
	Line	   *line;

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	landing->result = *result;
	pg_write_barrier();
	pg_atomic_write_u32(&landing->state, FLIGHT_LANDED);

	line = wbc_flight_line(&landing->key);
	if (line->under_way == flight)
		line->under_way = NONE;
	else
		line->queued = NONE;
	if (line->queued != NONE)
		wbc_flight_enqueue(line->queued);
	else if (line->under_way == NONE)
		wbc_flight_forget_line(&landing->key);
	last = wbc_flight_drop_ref(flight);
	LWLockRelease(wbc_flight_lock);

	ConditionVariableBroadcast(&landing->landed);
	if (DsaPointerIsValid(last))
		wbc_memory_unpin(last);
}
