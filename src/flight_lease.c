/*-------------------------------------------------------------------------
 *
 * flight_lease.c
 *	  Leases: flights that a client carries out.
 *
 * Layer 3, a part of flight.c, where the states and the lock protocol are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "flight.h"
#include "flight_table.h"
#include "guc.h"
#include "memory.h"
#include "stamp.h"

/* A lease that was given this much later than now: the clock was set back. */
#define CLOCK_SLACK		USECS_PER_MINUTE

/*
 * Was it not used in time, or does it not hold any more?
 */
bool
wbc_flight_is_lease_lost(const Flight *flight, TimestampTz now)
{
	return flight->lease != 0 &&
		(flight->lease_until <= now ||
		 flight->asked_at > now + CLOCK_SLACK ||
		 !wbc_stamp_is_current(&flight->key, &flight->stamp));
}

/*
 * Lands a lease that will not be used any more.  Hold the lock.
 */
void
wbc_flight_lose(Line *line)
{
	int			f = line->under_way;
	Flight	   *flight = &wbc_flights->flights[f];

	flight->result.failed = true;
	wbc_error_set(&flight->result.error, WBC_ERRCODE_LEASE_LOST,
				  "the lease was not used in time");
	pg_write_barrier();
	pg_atomic_write_u32(&flight->state, FLIGHT_LANDED);
	line->under_way = NONE;
	if (line->queued == NONE)
		wbc_flight_forget_line(&flight->key);
	(void) wbc_flight_drop_ref(f);
	ConditionVariableBroadcast(&flight->landed);
}

/*
 * Lands all leases that will not be used any more: there may be many whose keys
 * nobody has asked for since, and every one takes the place of a flight.  Hold
 * the lock.
 */
void
wbc_flight_lose_overdue(TimestampTz now)
{
	for (int f = 0; f < wbc_guc_max_flights; f++)
	{
		const Flight *flight = &wbc_flights->flights[f];

		if (wbc_flight_state(flight) == FLIGHT_UNDER_WAY &&
			wbc_flight_is_lease_lost(flight, now))
			wbc_flight_lose(wbc_flight_line(&flight->key));
	}
}

/*
 * The name of a lease, for the client that got it.
 */
uint64
wbc_flight_lease(int flight)
{
	return wbc_flights->flights[flight].lease;
}

/* Hold the lock.  Returns -1 when there is no such lease. */
static int
find_lease(const WbcKey *key, uint64 lease)
{
	const Line *line = wbc_flight_line(key);

	if (lease == 0 || line == NULL || line->under_way == NONE ||
		wbc_flights->flights[line->under_way].lease != lease)
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

	LWLockAcquire(wbc_flight_lock, LW_SHARED);
	f = find_lease(key, lease);
	if (f != NONE && wbc_flight_is_lease_lost(&wbc_flights->flights[f], now))
		f = NONE;
	if (f != NONE)
		*stamp = wbc_flights->flights[f].stamp;
	LWLockRelease(wbc_flight_lock);

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

	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	f = find_lease(key, lease);
	if (f != NONE)
		wbc_flights->flights[f].lease = 0;	/* nobody else may land it now */
	LWLockRelease(wbc_flight_lock);

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
	LWLockAcquire(wbc_flight_lock, LW_EXCLUSIVE);
	if (find_lease(key, lease) != NONE)
		wbc_flight_lose(wbc_flight_line(key));
	LWLockRelease(wbc_flight_lock);
}
