/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  How long things took, in buckets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_HISTOGRAM_H
#define WBC_HISTOGRAM_H

#include "port/atomics.h"
#include "wbcache.h"

/* Upper bounds of buckets; one more bucket is for what is above the last. */
#define WBC_HISTOGRAM_BOUNDS	27
#define WBC_HISTOGRAM_BUCKETS	(WBC_HISTOGRAM_BOUNDS + 1)

/* Shared; durations in nanoseconds. */
typedef struct WbcHistogram
{
	pg_atomic_uint64 bucket[WBC_HISTOGRAM_BUCKETS];
	pg_atomic_uint64 sum;
	pg_atomic_uint64 max;
} WbcHistogram;

/* One reader's. */
typedef struct WbcHistogramCopy
{
	uint64		bucket[WBC_HISTOGRAM_BUCKETS];
	uint64		count;
	uint64		sum;
	uint64		max;
} WbcHistogramCopy;

extern uint64 wbc_histogram_bound(int bucket);
extern void wbc_histogram_init(WbcHistogram *histogram);
extern void wbc_histogram_zero(WbcHistogram *histogram);
extern void wbc_histogram_add(WbcHistogram *histogram, int64 duration);
extern void wbc_histogram_copy(WbcHistogram *histogram,
							   WbcHistogramCopy *copy);
extern uint64 wbc_histogram_percentile(const WbcHistogramCopy *copy,
									   double fraction);

#endif							/* WBC_HISTOGRAM_H */
