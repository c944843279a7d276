/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  Counters in shared memory, each declared once with its description.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_METRICS_H
#define WBC_METRICS_H

#include "port/atomics.h"
#include "wbcache.h"

/* Endpoints with counters of their own; further ones share slot 0. */
#define WBC_METRICS_ENDPOINTS	1024

/* X(name, description): counters kept for each endpoint */
#define WBC_ENDPOINT_COUNTERS(X) \
	X(hits, "reads answered by a fresh value") \
	X(stale, "reads answered by a stale value while it was refreshed") \
	X(misses, "reads that started the flight they waited for") \
	X(collapsed, "reads that waited for a flight somebody else had started") \
	X(bypasses, "reads that could not believe the cache: an invalidation was being committed, or was their own") \
	X(errors, "reads that ended in an error") \
	X(refresh_successes, "fetches that brought a value, 304 included") \
	X(refresh_failures, "fetches that failed") \
	X(fallbacks, "loads of the sidebar that had to do without sidebar_data")

/* X(name, description): counters of request coalescing */
#define WBC_COALESCER_COUNTERS(X) \
	X(total_requests, "requests for a flight: misses, and refreshes of stale values") \
	X(coalesced_requests, "requests that found a flight to join") \
	X(upstream_calls, "fetches that were started") \
	X(waits, "waits that ended") \
	X(wait_us, "microseconds spent in those waits")

#define WBC_COUNTER_FIELD(name, description) pg_atomic_uint64 name;

typedef struct WbcEndpointMetrics
{
	Oid			dbid;			/* InvalidOid: slot is free; metrics lock */
	NameData	name;			/* metrics lock */
	WBC_ENDPOINT_COUNTERS(WBC_COUNTER_FIELD)
} WbcEndpointMetrics;

typedef struct WbcCoalescerMetrics
{
	WBC_COALESCER_COUNTERS(WBC_COUNTER_FIELD)
	pg_atomic_uint32 waiters;	/* now */
	pg_atomic_uint32 max_waiters;
} WbcCoalescerMetrics;

extern void wbc_metrics_register(void);
extern int	wbc_metrics_endpoint_slot(Oid dbid, const char *name);
extern void wbc_metrics_endpoint_forget(Oid dbid, const char *name);
extern WbcEndpointMetrics *wbc_metrics_endpoint(int slot);
extern WbcCoalescerMetrics *wbc_metrics_coalescer(void);
extern void wbc_metrics_wait_begins(void);
extern void wbc_metrics_wait_ends(int64 microseconds);
extern void wbc_metrics_reset(Oid dbid);

static inline void
wbc_metrics_count(pg_atomic_uint64 *counter)
{
	(void) pg_atomic_fetch_add_u64(counter, 1);
}

#endif							/* WBC_METRICS_H */
