/*-------------------------------------------------------------------------
 *
 * upstream.h
 *	  What is known of each upstream at run time: its breaker, its rate
 *	  limit and its counters, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_UPSTREAM_H
#define WBC_UPSTREAM_H

#include "breaker.h"
#include "server.h"
#include "wbcache.h"

/* Servers of all databases together that can be in use at once. */
#define WBC_UPSTREAMS_MAX	256

/* X(name, description): counters kept for each server */
#define WBC_UPSTREAM_COUNTERS(X) \
	X(requests, "requests sent") \
	X(successes, "answers that brought a value") \
	X(not_modified, "answers that said 304: the value was still good") \
	X(failures, "requests that failed, whatever the reason") \
	X(refused, "fetches refused by the open breaker") \
	X(rate_limited, "fetches that waited for, or were refused by, the rate limit or a pause")

/* X(name, description): what goes up and down */
#define WBC_UPSTREAM_GAUGES(X) \
	X(consecutive_failures, "failures since the last success") \
	X(running, "requests in progress") \
	X(rate_limit, "requests allowed in a window; NULL: no limit") \
	X(rate_used, "requests sent in the current window")

#define WBC_UPSTREAM_FIELD(name, description) uint64 name;

typedef struct WbcUpstream
{
	Oid			dbid;			/* InvalidOid: free */
	Oid			serverid;
	WbcBreaker	breaker;
	WbcRateLimit limit;
	int			running;		/* requests in progress */
	int			rate_requests;	/* copied from the options, for the views */
	int			rate_window_ms;
	char		last_error[128];
	TimestampTz last_error_at;
	WBC_UPSTREAM_COUNTERS(WBC_UPSTREAM_FIELD)
} WbcUpstream;

/* May a request go now, and if not, why not and until when? */
typedef enum WbcAdmission
{
	WBC_ADMIT_GO,
	WBC_ADMIT_BUSY,				/* all of its connections are in use */
	WBC_ADMIT_RATE_LIMITED,		/* until *when */
	WBC_ADMIT_PAUSED,			/* Retry-After, until *when */
	WBC_ADMIT_BREAKER_OPEN		/* until *when; half-open: when the probe
								 * will have ended at the latest */
} WbcAdmission;

/* How a request ended, as far as the upstream's health is concerned. */
typedef enum WbcUpstreamOutcome
{
	WBC_UPSTREAM_VALUE,
	WBC_UPSTREAM_NOT_MODIFIED,
	WBC_UPSTREAM_REJECTED,		/* 4xx, redirect: it is alive, but no value */
	WBC_UPSTREAM_THROTTLED,		/* 429: alive, and asks for patience */
	WBC_UPSTREAM_BROKEN			/* 5xx, timeout, unreachable, not JSON, too
								 * large */
} WbcUpstreamOutcome;

extern void wbc_upstream_register(void);
extern int	wbc_upstream_slot(Oid dbid, Oid serverid);
extern WbcAdmission wbc_upstream_ask(int slot, const WbcServer *server,
									 bool in_advance,
									 TimestampTz now, TimestampTz *when);
extern void wbc_upstream_starts(int slot, const WbcServer *server,
								TimestampTz now);
extern void wbc_upstream_ends(int slot, const WbcServer *server,
							  WbcUpstreamOutcome outcome, int64 retry_after_us,
							  const char *error, TimestampTz now);
extern void wbc_upstream_abandon(Oid dbid, TimestampTz now);
extern void wbc_upstream_count_refused(int slot, WbcAdmission why);
extern int	wbc_upstream_snapshot(Oid dbid, WbcUpstream *out);
extern void wbc_upstream_reset(Oid dbid);

#endif							/* WBC_UPSTREAM_H */
