/*-------------------------------------------------------------------------
 *
 * histogram.c
 *	  How long things took, in buckets.
 *
 * Layer 1.  Anybody adds at any time; there is no lock.  The greatest duration
 * is written before the bucket, and read after it, so that a copy never counts
 * one that is above its maximum.  How many there are is the sum of the buckets
 * of the copy: it can't disagree with them.
 *
 * Bounds are 1, 2 and 5 times the powers of ten, from a tenth of a microsecond
 * to 50 seconds: a percentile, which is interpolated in its bucket, is at most
 * 2.5 times off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "histogram.h"

static const uint64 bounds[WBC_HISTOGRAM_BOUNDS] = {
	100, 200, 500,
	1000, 2000, 5000,
	10000, 20000, 50000,
	100000, 200000, 500000,
	1000000, 2000000, 5000000,
	10000000, 20000000, 50000000,
	100000000, 200000000, 500000000,
	UINT64CONST(1000000000), UINT64CONST(2000000000), UINT64CONST(5000000000),
	UINT64CONST(10000000000), UINT64CONST(20000000000), UINT64CONST(50000000000)
};

/*
 * The longest duration in a bucket other than the last.
 */
uint64
wbc_histogram_bound(int bucket)
{
	Assert(bucket >= 0 && bucket < WBC_HISTOGRAM_BOUNDS);
	return bounds[bucket];
}

static int
bucket_of(uint64 duration)
{
	int			low = 0;
	int			high = WBC_HISTOGRAM_BOUNDS;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (duration <= bounds[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void
wbc_histogram_init(WbcHistogram *histogram)
{
	for (int i = 0; i < WBC_HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&histogram->bucket[i], 0);
	pg_atomic_init_u64(&histogram->sum, 0);
	pg_atomic_init_u64(&histogram->max, 0);
}

void
wbc_histogram_zero(WbcHistogram *histogram)
{
	for (int i = 0; i < WBC_HISTOGRAM_BUCKETS; i++)
		pg_atomic_write_u64(&histogram->bucket[i], 0);
	pg_atomic_write_u64(&histogram->sum, 0);
	pg_atomic_write_u64(&histogram->max, 0);
}

/*
 * A negative duration, of a clock that was set back, counts as none.
 */
void
wbc_histogram_add(WbcHistogram *histogram, int64 duration)
{
	uint64		took = Max(duration, 0);
	uint64		max = pg_atomic_read_u64(&histogram->max);

	while (took > max &&
		   !pg_atomic_compare_exchange_u64(&histogram->max, &max, took))
		;
	(void) pg_atomic_fetch_add_u64(&histogram->sum, took);
	(void) pg_atomic_fetch_add_u64(&histogram->bucket[bucket_of(took)], 1);
}

void
wbc_histogram_copy(WbcHistogram *histogram, WbcHistogramCopy *copy)
{
	copy->count = 0;
	for (int i = 0; i < WBC_HISTOGRAM_BUCKETS; i++)
	{
		copy->bucket[i] = pg_atomic_read_u64(&histogram->bucket[i]);
		copy->count += copy->bucket[i];
	}
	pg_read_barrier();
	copy->sum = pg_atomic_read_u64(&histogram->sum);
	copy->max = pg_atomic_read_u64(&histogram->max);
}

/*
 * The duration that this fraction of them did not pass; 0 without any.
 */
uint64
wbc_histogram_percentile(const WbcHistogramCopy *copy, double fraction)
{
	double		rank = fraction * copy->count;
	double		below = 0;

	for (int i = 0; i < WBC_HISTOGRAM_BUCKETS; i++)
	{
		uint64		low = i == 0 ? 0 : bounds[i - 1];
		uint64		high = i < WBC_HISTOGRAM_BOUNDS ? Min(bounds[i], copy->max) :
			copy->max;

		if (copy->bucket[i] > 0 && below + copy->bucket[i] >= rank)
			return high <= low ? high :
				low + (uint64) ((high - low) * (rank - below) / copy->bucket[i]);
		below += copy->bucket[i];
	}
	return 0;
}
