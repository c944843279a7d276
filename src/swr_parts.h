/*-------------------------------------------------------------------------
 *
 * swr_parts.h
 *	  What swr.c, swr_miss.c and swr_warm.c share, and nobody else may
 *	  include.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_SWR_PARTS_H
#define WBC_SWR_PARTS_H

#include "flight.h"
#include "metrics.h"
#include "swr.h"

static inline WbcEndpointMetrics *
wbc_swr_counters(const WbcRead *read)
{
	return wbc_metrics_endpoint(read->route.endpoint->metrics);
}

/* Where the value comes from when it isn't there. */
static inline WbcSource
wbc_swr_source(const WbcRead *read)
{
	return OidIsValid(read->loader) ? WBC_SOURCE_LOADER :
		wbc_endpoint_source(read->route.endpoint);
}

extern bool wbc_swr_take_lease_stamp(const WbcRead *read, WbcStamp *stamp);
extern bool wbc_swr_look_again(void *arg);
extern bool wbc_swr_is_for(const WbcRead *read, int n, const uint32 *stripes);
extern void wbc_swr_take_value(WbcRead *read, dsa_pointer pointer,
							   TimestampTz now, bool unpin);
extern void wbc_swr_mark_failed(WbcRead *read);
extern void wbc_swr_set_no_worker(WbcError *error);
extern void wbc_swr_count_hit(const WbcRead *read);
extern void wbc_swr_count_stale(const WbcRead *read);
extern WbcFlightAsk wbc_swr_ask(const WbcRead *read);
extern void wbc_swr_take_lease(WbcRead *read);
extern void wbc_swr_see_to_refresh(WbcRead *read, bool claimed);

extern bool wbc_swr_is_not_fresh(void *arg);
extern bool wbc_swr_take_fresh(WbcRead *read);
extern bool wbc_swr_promote(const WbcRead *read);

#endif							/* WBC_SWR_PARTS_H */
