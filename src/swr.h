/*-------------------------------------------------------------------------
 *
 * swr.h
 *	  The read path: fresh from memory, stale while it is refreshed, or a
 *	  wait for a flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_SWR_H
#define WBC_SWR_H

#include "endpoint.h"
#include "portability/instr_time.h"
#include "wbcache.h"

/*
 * One key being read.  When it is answered, either value is what was found
 * (NULL: nothing, and nowhere to fetch it from), or failed is set and error
 * says why.  Ages and times are in microseconds.
 */
typedef struct WbcRead
{
	WbcKey		key;
	WbcRoute	route;
	Oid			loader;			/* of get_with_swr(), else InvalidOid */
	int64		lease_time;		/* of acquire(); 0: no lease is wanted */
	TimestampTz asked_at;
	TimestampTz deadline;		/* no wait is longer */
	bool		timed;			/* if it is a hit, its duration is kept */
	instr_time	began;			/* if timed */

	/* the answer */
	text	   *value;			/* in the caller's memory context */
	WbcStatus	status;
	bool		failed;
	WbcError	error;
	int64		age;
	int64		ttl;			/* until it turns stale; negative: stale */
	int64		waited;
	const char *note;			/* what else there is to say, or NULL */
	uint64		lease;			/* the caller has it; 0: it has none */
	bool		lease_lost;		/* it was somebody else's, who did not use it */

	/* on the way there */
	bool		bypass;
	bool		from_table;		/* not from memory */
	bool		failed_lately;	/* memory has but an error: that of a fetch a
								 * moment ago */
	int			flight;			/* a reference is held, or -1 */
	bool		started_flight;
} WbcRead;

/* What came of warming a key. */
typedef enum WbcWarm
{
	WBC_WARM_FRESH,				/* its value is there */
	WBC_WARM_STARTED,			/* a flight was made: land it */
	WBC_WARM_JOINED,			/* there was one: land it */
	WBC_WARM_FAILED,			/* the read's error says why */
	WBC_WARM_MISSING			/* it would take a flight, which may not, or
								 * can't be made now */
} WbcWarm;

extern void wbc_swr_prepare(void);
extern void wbc_swr_begin(WbcRead *read, const text *key, TimestampTz now);
extern void wbc_swr_begin_ad_hoc(WbcRead *read, const text *key,
								 WbcEndpoint *rules, Oid loader,
								 TimestampTz now);
extern void wbc_swr_check_lease(const WbcRead *read);
extern bool wbc_swr_look(WbcRead *read);
extern void wbc_swr_fly(WbcRead **reads, int n);
extern void wbc_swr_keep_memory(Size len);
extern WbcWarm wbc_swr_warm(WbcRead *read, bool may_fly);
extern void wbc_swr_warm_land(WbcRead *read, TimestampTz deadline);

#endif							/* WBC_SWR_H */
