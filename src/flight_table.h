/*-------------------------------------------------------------------------
 *
 * flight_table.h
 *	  What flight.c, flight_lane.c and flight_lease.c share, and nobody else
 *	  may include.  The lock protocol is in flight.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_FLIGHT_TABLE_H
#define WBC_FLIGHT_TABLE_H

#include "flight.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

/*
 * Processes that serve one database: a fetcher and its loaders, and as many that
 * are about to end.
 */
#define CREW_MAX	(1 + 2 * WBC_LOADERS_MAX)

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
	bool		in_advance;		/* lock; no client has asked for it yet */
	int			next;			/* lock; in a queue or the free list */
	pid_t		pid;			/* lock; who has it in hand, 0: nobody */
	uint64		lease;			/* lock; set when made, 0 once used, or if there
								 * is none; its waiters look without the lock */
	TimestampTz lease_until;	/* set when made */
	TimestampTz asked_at;		/* set when made */
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
	int			nfree;
	uint64		leases;			/* given so far */
	Lane		lanes[WBC_DATABASES_MAX];
	Flight		flights[FLEXIBLE_ARRAY_MEMBER];
} Table;

extern Table *wbc_flights;
extern LWLock *wbc_flight_lock;

static inline FlightState
wbc_flight_state(const Flight *flight)
{
	return pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &flight->state));
}

/* Hold the lock in all of these. */
extern Line *wbc_flight_line(const WbcKey *key);
extern void wbc_flight_forget_line(const WbcKey *key);
extern dsa_pointer wbc_flight_drop_ref(int f);
extern int	wbc_flight_lane(Oid dbid);
extern void wbc_flight_enqueue(int f);
extern void wbc_flight_ask_for(int f);
extern bool wbc_flight_is_lease_lost(const Flight *flight, TimestampTz now);
extern void wbc_flight_lose(Line *line);
extern void wbc_flight_lose_overdue(TimestampTz now);

#endif							/* WBC_FLIGHT_TABLE_H */
