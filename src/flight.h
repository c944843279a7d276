/*-------------------------------------------------------------------------
 *
 * flight.h
 *	  Fetches in progress, and everyone who waits for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_FLIGHT_H
#define WBC_FLIGHT_H

#include "generation.h"
#include "utils/dsa.h"
#include "wbcache.h"

/* How a flight ended; the same for all its waiters. */
typedef struct WbcFlightResult
{
	bool		failed;
	dsa_pointer value;			/* a pinned entry, unless failed */
	WbcError	error;			/* if failed */
} WbcFlightResult;

/* Who carries a flight out. */
typedef enum WbcCarrier
{
	WBC_CARRIER_FETCHER,		/* HTTP */
	WBC_CARRIER_LOADER,			/* SQL */
	WBC_CARRIER_CLIENT			/* whoever holds the lease */
} WbcCarrier;

/* Those that are processes of ours, with a queue each. */
#define WBC_CARRIERS	2

/* What get_with_swr() says, where there is no endpoint to say it. */
typedef struct WbcAdHoc
{
	Oid			loader;			/* function; InvalidOid: there is an endpoint */
	int64		soft_ttl;		/* microseconds */
	int64		hard_ttl;
} WbcAdHoc;

/* What a reader wants of a flight. */
typedef struct WbcFlightAsk
{
	const WbcKey *key;
	TimestampTz now;
	WbcCarrier	carrier;
	WbcAdHoc	ad_hoc;
	const WbcStamp *stamp;		/* CLIENT: what the lease records */
	TimestampTz lease_until;	/* CLIENT: when it is free again */
	bool		join_only;		/* make none */
	bool		will_wait;		/* hold a reference for the caller */
	bool		must_start_later;	/* a flight under way won't do */
	bool		in_advance;		/* nobody has asked for the value yet */
	bool		(*still_needed) (void *arg);	/* asked before one is made; must
												 * not throw; NULL: yes */
	void	   *arg;
} WbcFlightAsk;

/* How soon a flight should take off. */
typedef enum WbcUrgency
{
	WBC_URGENCY_WAITED_FOR,		/* a client waits */
	WBC_URGENCY_WANTED,			/* a client has got a stale value */
	WBC_URGENCY_IN_ADVANCE		/* no client has asked for it */
} WbcUrgency;

#define WBC_URGENCIES	3

/*
 * What of n slots flights in advance may take: the rest is for clients.  A
 * single slot can't be shared.
 */
static inline int
wbc_flight_share_in_advance(int n)
{
	return Max(n - Max(n / 4, 1), Min(n, 1));
}

typedef enum WbcJoin
{
	WBC_JOIN_STARTED,			/* a new flight was made */
	WBC_JOIN_JOINED,			/* there was one to join */
	WBC_JOIN_NOT_NEEDED,		/* still_needed() said no, or join_only, or
								 * another's lease that can't be joined */
	WBC_JOIN_FULL,				/* no room for another flight */
	WBC_JOIN_NO_WORKER			/* nobody fetches for this database */
} WbcJoin;

extern void wbc_flight_register(void);

/* for readers */
extern WbcJoin wbc_flight_join(const WbcFlightAsk *ask, int *flight);
extern bool wbc_flight_wait(int flight, TimestampTz deadline);
extern const WbcFlightResult *wbc_flight_result(int flight);
extern TimestampTz wbc_flight_took_off_at(int flight);
extern void wbc_flight_leave(int flight);
extern bool wbc_flight_reserve_lane(Oid dbid);
extern void wbc_flight_wake_fetcher(Oid dbid);

/* for leases, which are flights carried out by clients */
extern uint64 wbc_flight_lease(int flight);
extern bool wbc_flight_lease_stamp(const WbcKey *key, uint64 lease,
								   TimestampTz now, WbcStamp *stamp);
extern void wbc_flight_land_lease(const WbcKey *key, uint64 lease,
								  dsa_pointer value);
extern void wbc_flight_lose_lease(const WbcKey *key, uint64 lease);

/* for the processes that carry flights out */
extern int	wbc_flight_open_lane(Oid dbid, WbcCarrier carrier);
extern void wbc_flight_close_lane(int lane);
extern void wbc_flight_refuse(Oid dbid, WbcCarrier carrier,
							  const WbcError *error);
extern void wbc_flight_drop_lane(Oid dbid, const WbcError *error);
extern int	wbc_flight_next(int lane, WbcCarrier carrier);
extern void wbc_flight_hand_over(int flight, WbcCarrier carrier);
extern const WbcKey *wbc_flight_key(int flight);
extern TimestampTz wbc_flight_asked_at(int flight);
extern const WbcAdHoc *wbc_flight_ad_hoc(int flight);
extern WbcUrgency wbc_flight_urgency(int flight);
extern bool wbc_flight_take_off(int flight, const WbcStamp *stamp,
								TimestampTz now);
extern void wbc_flight_land(int flight, const WbcFlightResult *result);

/* for the views */
extern void wbc_flight_count(int *queued, int *under_way);
extern void wbc_flight_count_of(Oid dbid, WbcCarrier carrier, int *queued,
								int *under_way);

#endif							/* WBC_FLIGHT_H */
