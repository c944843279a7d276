/*
 * unit.c
 *	  src/window.c and src/histogram.c as SQL functions.  Times are microseconds,
 *	  durations nanoseconds.  The session has one window and one histogram; and
 *	  it can see the windows of wbcache as they would be at another time.
 */
#include "postgres.h"

#include "histogram.c"
#include "window.c"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "metrics.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(window_begin);
PG_FUNCTION_INFO_V1(window_put);
PG_FUNCTION_INFO_V1(window_read);
PG_FUNCTION_INFO_V1(stat_window_at);
PG_FUNCTION_INFO_V1(histogram_begin);
PG_FUNCTION_INFO_V1(histogram_add);
PG_FUNCTION_INFO_V1(histogram_percentile);
PG_FUNCTION_INFO_V1(histogram_bucket);

static WbcWindow window;
static WbcHistogram histogram;

Datum
window_begin(PG_FUNCTION_ARGS)
{
	wbc_window_begin(&window, PG_GETARG_INT64(0));
	PG_RETURN_VOID();
}

/* The same count for all counters, but the last, which has twice as much. */
static void
fill(uint64 *count, int64 value)
{
	for (int i = 0; i < WBC_WINDOW_COUNTERS; i++)
		count[i] = value;
	count[WBC_WINDOW_COUNTERS - 1] = 2 * value;
}

/* window_put(at, count): returns whether it was time for that. */
Datum
window_put(PG_FUNCTION_ARGS)
{
	uint64		count[WBC_WINDOW_COUNTERS];
	bool		due = is_due(&window, PG_GETARG_INT64(0));

	fill(count, PG_GETARG_INT64(1));
	wbc_window_put(&window, PG_GETARG_INT64(0), count);
	PG_RETURN_BOOL(due);
}

/* window_read(at, count): length, growth of the first and of the last counter. */
Datum
window_read(PG_FUNCTION_ARGS)
{
	uint64		count[WBC_WINDOW_COUNTERS];
	uint64		growth[WBC_WINDOW_COUNTERS];
	Datum		out[3];

	fill(count, PG_GETARG_INT64(1));
	out[0] = Int64GetDatum(wbc_window_read(&window, PG_GETARG_INT64(0), count, growth));
	out[1] = Int64GetDatum((int64) growth[0]);
	out[2] = Int64GetDatum((int64) growth[WBC_WINDOW_COUNTERS - 1]);
	PG_RETURN_ARRAYTYPE_P(construct_array(out, 3, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* stat_window_at(endpoint, now): length in microseconds, hits; NULL: no such endpoint. */
Datum
stat_window_at(PG_FUNCTION_ARGS)
{
	int			(*read) (Oid dbid, TimestampTz now, WbcEndpointStat *out);
	WbcEndpointStat *stats = palloc(WBC_METRICS_ENDPOINTS * sizeof(WbcEndpointStat));
	int			n;

	read = load_external_function("wbcache", "wbc_metrics_read", true, NULL);
	n = read(MyDatabaseId, PG_GETARG_TIMESTAMPTZ(1), stats);
	for (int i = 0; i < n; i++)
	{
		Datum		out[2];

		if (strcmp(NameStr(stats[i].name), NameStr(*PG_GETARG_NAME(0))) != 0)
			continue;
		out[0] = Int64GetDatum(stats[i].period);
		out[1] = Int64GetDatum((int64) stats[i].recent.hits);
		PG_RETURN_ARRAYTYPE_P(construct_array(out, 2, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	PG_RETURN_NULL();
}

Datum
histogram_begin(PG_FUNCTION_ARGS)
{
	wbc_histogram_init(&histogram);
	PG_RETURN_VOID();
}

Datum
histogram_add(PG_FUNCTION_ARGS)
{
	wbc_histogram_add(&histogram, PG_GETARG_INT64(0));
	PG_RETURN_VOID();
}

/* histogram_percentile(fraction): the percentile, count, sum, max. */
Datum
histogram_percentile(PG_FUNCTION_ARGS)
{
	WbcHistogramCopy copy;
	Datum		out[4];

	wbc_histogram_copy(&histogram, &copy);
	out[0] = Int64GetDatum((int64) wbc_histogram_percentile(&copy, PG_GETARG_FLOAT8(0)));
	out[1] = Int64GetDatum((int64) copy.count);
	out[2] = Int64GetDatum((int64) copy.sum);
	out[3] = Int64GetDatum((int64) copy.max);
	PG_RETURN_ARRAYTYPE_P(construct_array(out, 4, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The bounds of a duration's bucket: more than, up to; -1 where there is none. */
Datum
histogram_bucket(PG_FUNCTION_ARGS)
{
	int			bucket = bucket_of(PG_GETARG_INT64(0));
	Datum		out[2];

	out[0] = Int64GetDatum(bucket == 0 ? -1 : (int64) wbc_histogram_bound(bucket - 1));
	out[1] = Int64GetDatum(bucket == WBC_HISTOGRAM_BOUNDS ? -1 : (int64) wbc_histogram_bound(bucket));
	PG_RETURN_ARRAYTYPE_P(construct_array(out, 2, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
