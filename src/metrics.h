/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  Counters in shared memory, each declared once with its description.
 *
 * So are those of other modules, in their own headers; describe.c has all of
 * these lists.  What is declared here as X(name, description) becomes a field, a
 * column of a view with this comment, and a metric of Prometheus.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_METRICS_H
#define WBC_METRICS_H

#include "histogram.h"
#include "port/atomics.h"
#include "wbcache.h"

/* Endpoints with counters of their own; further ones share slot 0. */
#define WBC_METRICS_ENDPOINTS	1024

/*
 * Of the hits of a process, one in so many is timed: to read the clock for each
 * would cost more than the rest of the statistics.  All else is always timed.
 */
#define WBC_METRICS_HIT_SAMPLE	16

/* X(name, description): counters kept for each endpoint */
#define WBC_ENDPOINT_COUNTERS(X) \
	X(hits, "reads answered by a fresh value") \
	X(stale, "reads answered by a stale value while it was refreshed") \
	X(misses, "reads that started the flight they waited for") \
	X(collapsed, "reads that waited for a flight somebody else had started") \
	X(bypasses, "reads that could not believe the cache: an invalidation was being committed, or was their own") \
	X(errors, "reads that ended in an error") \
	X(refresh_successes, "fetches that brought a value, 304 included") \
	X(refresh_failures, "fetches that failed")

/* X(name, description): kept in the slot of the endpoint of the sidebar */
#define WBC_SIDEBAR_COUNTERS(X) \
	X(fallbacks, "loads that had to do without sidebar_data: it was missing, not populated or locked")

/* X(symbol, label, description): what is timed for each endpoint */
#define WBC_EACH_OPERATION(X) \
	X(HIT, "hit", "a read answered by a fresh value; one in 16 is timed") \
	X(STALE, "stale", "a read answered by a stale value") \
	X(WAIT, "wait", "a read that waited for a flight, however that ended") \
	X(FETCH, "fetch", "a request to the upstream, from start to end") \
	X(LOAD, "load", "a run of the loader in a loader process") \
	X(REFRESH, "refresh", "a flight: from the read that asked for it to its end, the time in queues included")

/* X(name, description): counters of request coalescing, the last of microseconds */
#define WBC_COALESCER_COUNTERS(X) \
	X(new_requests, "requests for a flight that started one") \
	X(coalesced_requests, "requests that found a flight to join") \
	X(upstream_calls, "fetches that were started") \
	X(waits, "waits that ended")
#define WBC_COALESCER_TIMES(X) \
	X(wait_us, "microseconds spent in those waits")
#define WBC_COALESCER_FIELDS(X) WBC_COALESCER_COUNTERS(X) WBC_COALESCER_TIMES(X)

/* X(name, description): what goes up and down */
#define WBC_COALESCER_GAUGES(X) \
	X(waiters, "reads that wait now") \
	X(max_concurrent_waiters, "most reads that waited at one time") \
	X(pending_keys, "flights that are queued or under way now")

#define WBC_OPERATION_SYMBOL(symbol, label, description) WBC_OPERATION_##symbol,

typedef enum WbcOperation
{
	WBC_EACH_OPERATION(WBC_OPERATION_SYMBOL)
	WBC_OPERATIONS				/* how many there are */
} WbcOperation;

#define WBC_COUNTER_FIELD(name, description) pg_atomic_uint64 name;
#define WBC_COUNT_FIELD(name, description) uint64 name;

/* Shared; anybody adds to the counters. */
typedef struct WbcEndpointMetrics
{
	WBC_ENDPOINT_COUNTERS(WBC_COUNTER_FIELD)
	WBC_SIDEBAR_COUNTERS(WBC_COUNTER_FIELD)
	WbcHistogram latency[WBC_OPERATIONS];
} WbcEndpointMetrics;

typedef struct WbcCoalescerMetrics
{
	WBC_COALESCER_FIELDS(WBC_COUNTER_FIELD)
	pg_atomic_uint32 waiters;	/* now */
	pg_atomic_uint32 max_waiters;
} WbcCoalescerMetrics;

/* What the views show of an endpoint. */
typedef struct WbcEndpointCounts
{
	WBC_ENDPOINT_COUNTERS(WBC_COUNT_FIELD)
} WbcEndpointCounts;

typedef struct WbcEndpointStat
{
	NameData	name;
	WbcEndpointCounts count;
	WBC_SIDEBAR_COUNTERS(WBC_COUNT_FIELD)
	int64		period;			/* microseconds that "recent" is about */
	WbcEndpointCounts recent;
} WbcEndpointStat;

typedef struct WbcCoalescerStat
{
	WBC_COALESCER_FIELDS(WBC_COUNT_FIELD)
	uint64		waiters;
	uint64		max_waiters;
} WbcCoalescerStat;

typedef struct WbcLatencyStat
{
	NameData	name;
	WbcHistogramCopy latency[WBC_OPERATIONS];
} WbcLatencyStat;

extern void wbc_metrics_register(void);
extern int	wbc_metrics_endpoint_slot(Oid dbid, const char *name,
									  TimestampTz now);
extern void wbc_metrics_endpoint_forget(Oid dbid, const char *name);
extern WbcEndpointMetrics *wbc_metrics_endpoint(int slot);
extern WbcCoalescerMetrics *wbc_metrics_coalescer(void);
extern void wbc_metrics_wait_begins(void);
extern void wbc_metrics_wait_ends(int64 microseconds);
extern void wbc_metrics_time(int slot, WbcOperation operation,
							 int64 microseconds);
extern TimestampTz wbc_metrics_tick(TimestampTz now);
extern void wbc_metrics_reset(Oid dbid, TimestampTz now);

/* for the views */
extern int	wbc_metrics_read(Oid dbid, TimestampTz now, WbcEndpointStat *out);
extern int	wbc_metrics_read_latency(Oid dbid, WbcLatencyStat *out);
extern void wbc_metrics_read_coalescer(WbcCoalescerStat *out);
extern const char *wbc_metrics_operation_name(WbcOperation operation);

static inline void
wbc_metrics_count(pg_atomic_uint64 *counter)
{
	(void) pg_atomic_fetch_add_u64(counter, 1);
}

#endif							/* WBC_METRICS_H */
