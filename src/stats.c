/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  SQL functions behind the statistics views.
 *
 * Layer 5.  Each returns what is in shared memory, as it is; ratios, names and
 * joins are the views' business, in the install script.  Without the library
 * being preloaded they throw, as everything does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "breaker.h"
#include "catalog/pg_type.h"
#include "flight.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "journal.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "shmem.h"
#include "ttl.h"
#include "upstream.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(wbcache_stat_endpoint_counters);
PG_FUNCTION_INFO_V1(wbcache_stat_window_counters);
PG_FUNCTION_INFO_V1(wbcache_stat_latency_histograms);
PG_FUNCTION_INFO_V1(wbcache_stat_coalescer_counters);
PG_FUNCTION_INFO_V1(wbcache_stat_server_counters);
PG_FUNCTION_INFO_V1(wbcache_stat_memory_counters);
PG_FUNCTION_INFO_V1(wbcache_stat_worker_entries);
PG_FUNCTION_INFO_V1(wbcache_stat_invalidation_counters);
PG_FUNCTION_INFO_V1(wbcache_invalidation_event_entries);
PG_FUNCTION_INFO_V1(wbcache_stat_reset);

/* One row in the making. */
typedef struct Row
{
	ReturnSetInfo *result;
	int			n;
	Datum		values[24];
	bool		nulls[24];
} Row;

static void
begin_rows(FunctionCallInfo fcinfo, Row *row)
{
	wbc_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	row->result = (ReturnSetInfo *) fcinfo->resultinfo;
	row->n = 0;
}

static void
add(Row *row, Datum value)
{
	row->nulls[row->n] = false;
	row->values[row->n++] = value;
}

static void
add_null(Row *row)
{
	row->nulls[row->n] = true;
	row->values[row->n++] = (Datum) 0;
}

static void
add_count(Row *row, uint64 count)
{
	add(row, Int64GetDatum((int64) count));
}

/* 0 stands for never. */
static void
add_time(Row *row, TimestampTz at)
{
	if (at == 0)
		add_null(row);
	else
		add(row, TimestampTzGetDatum(at));
}

/* Empty stands for none. */
static void
add_text(Row *row, const char *string)
{
	if (string[0] == '\0')
		add_null(row);
	else
		add(row, CStringGetTextDatum(string));
}

static void
end_row(Row *row)
{
	Assert(row->n == row->result->setDesc->natts);
	tuplestore_putvalues(row->result->setResult, row->result->setDesc,
						 row->values, row->nulls);
	row->n = 0;
}

/* The fields of a struct that a list of counters has declared. */
#define ADD_FIELD(name, description) add_count(row, counts->name);

static void
add_counts(Row *row, const WbcEndpointCounts *counts)
{
	WBC_ENDPOINT_COUNTERS(ADD_FIELD)
}

static void
add_interval(Row *row, int64 microseconds)
{
	add(row, wbc_ttl_as_interval(microseconds));
}

static void
add_name(Row *row, const NameData *name)
{
	add(row, NameGetDatum(name));
}

/*
 * All endpoints at one moment, with what they have done lately.
 */
Datum
wbcache_stat_endpoint_counters(PG_FUNCTION_ARGS)
{
	WbcEndpointStat *stats;
	int			n;
	Row			row;

	begin_rows(fcinfo, &row);
	stats = palloc(WBC_METRICS_ENDPOINTS * sizeof(WbcEndpointStat));
	n = wbc_metrics_read(MyDatabaseId, GetCurrentTimestamp(), stats);
	for (int i = 0; i < n; i++)
	{
		add_name(&row, &stats[i].name);
		add_counts(&row, &stats[i].count);
		add_count(&row, stats[i].fallbacks);
		end_row(&row);
	}
	return (Datum) 0;
}

Datum
wbcache_stat_window_counters(PG_FUNCTION_ARGS)
{
	WbcEndpointStat *stats;
	int			n;
	Row			row;

	begin_rows(fcinfo, &row);
	stats = palloc(WBC_METRICS_ENDPOINTS * sizeof(WbcEndpointStat));
	n = wbc_metrics_read(MyDatabaseId, GetCurrentTimestamp(), stats);
	for (int i = 0; i < n; i++)
	{
		add_name(&row, &stats[i].name);
		add_interval(&row, stats[i].period);
		add_counts(&row, &stats[i].recent);
		end_row(&row);
	}
	return (Datum) 0;
}

/* ----------------------------------------------------------------
 * Latency
 * ----------------------------------------------------------------
 */

/* Seconds, of nanoseconds. */
static void
add_seconds(Row *row, uint64 ns)
{
	add(row, Float8GetDatum(ns / 1e9));
}

/* Upper bounds of the buckets, in seconds. */
static void
add_bounds(Row *row)
{
	Datum		bounds[WBC_HISTOGRAM_BOUNDS];

	for (int i = 0; i < WBC_HISTOGRAM_BOUNDS; i++)
		bounds[i] = Float8GetDatum(wbc_histogram_bound(i) / 1e9);
	add(row, PointerGetDatum(construct_array(bounds, WBC_HISTOGRAM_BOUNDS,
											 FLOAT8OID, sizeof(float8),
											 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
}

/* How many there are up to each bound. */
static void
add_buckets(Row *row, const WbcHistogramCopy *histogram)
{
	Datum		counts[WBC_HISTOGRAM_BOUNDS];
	uint64		count = 0;

	for (int i = 0; i < WBC_HISTOGRAM_BOUNDS; i++)
	{
		count += histogram->bucket[i];
		counts[i] = Int64GetDatum((int64) count);
	}
	add(row, PointerGetDatum(construct_array(counts, WBC_HISTOGRAM_BOUNDS,
											 INT8OID, sizeof(int64),
											 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
}

static void
add_latency(Row *row, const NameData *endpoint, WbcOperation operation,
			const WbcHistogramCopy *histogram)
{
	add_name(row, endpoint);
	add_text(row, wbc_metrics_operation_name(operation));
	add_count(row, histogram->count);
	add_seconds(row, histogram->sum);
	add_seconds(row, wbc_histogram_percentile(histogram, 0.50));
	add_seconds(row, wbc_histogram_percentile(histogram, 0.95));
	add_seconds(row, wbc_histogram_percentile(histogram, 0.99));
	add_seconds(row, histogram->max);
	add_bounds(row);
	add_buckets(row, histogram);
	end_row(row);
}

/*
 * A row for each endpoint and operation that there was.
 */
Datum
wbcache_stat_latency_histograms(PG_FUNCTION_ARGS)
{
	WbcLatencyStat *stats;
	int			n;
	Row			row;

	begin_rows(fcinfo, &row);
	stats = palloc(WBC_METRICS_ENDPOINTS * sizeof(WbcLatencyStat));
	n = wbc_metrics_read_latency(MyDatabaseId, stats);
	for (int i = 0; i < n; i++)
		for (WbcOperation operation = 0; operation < WBC_OPERATIONS; operation++)
			if (stats[i].latency[operation].count > 0)
				add_latency(&row, &stats[i].name, operation,
							&stats[i].latency[operation]);
	return (Datum) 0;
}

Datum
wbcache_stat_coalescer_counters(PG_FUNCTION_ARGS)
{
	WbcCoalescerStat stat;
	const WbcCoalescerStat *counts = &stat;
	int			queued;
	int			under_way;
	Row			one;
	Row		   *row = &one;

	begin_rows(fcinfo, row);
	wbc_metrics_read_coalescer(&stat);
	wbc_flight_count(&queued, &under_way);
	WBC_COALESCER_FIELDS(ADD_FIELD)
	add_count(row, stat.waiters);
	add_count(row, stat.max_waiters);
	add_count(row, queued + under_way);
	end_row(row);
	return (Datum) 0;
}

Datum
wbcache_stat_server_counters(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	WbcUpstream *upstreams;
	int			n;
	Row			row;

	begin_rows(fcinfo, &row);
	upstreams = palloc(WBC_UPSTREAMS_MAX * sizeof(WbcUpstream));
	n = wbc_upstream_snapshot(MyDatabaseId, upstreams);
	for (int i = 0; i < n; i++)
	{
		const WbcUpstream *upstream = &upstreams[i];
		const WbcRateLimit *limit = &upstream->limit;
		bool		in_window = limit->window_start +
			(int64) upstream->rate_window_ms * 1000 > now;

		add(&row, ObjectIdGetDatum(upstream->serverid));
		add_text(&row, wbc_breaker_state_name(upstream->breaker.state));
		add_count(&row, upstream->breaker.failures);
		add_time(&row, upstream->breaker.state == WBC_BREAKER_CLOSED ? 0 :
				 upstream->breaker.retry_at);
		add_count(&row, upstream->running);
#define X(name, description) add_count(&row, upstream->name);
		WBC_UPSTREAM_COUNTERS(X)
#undef X
		if (upstream->rate_requests > 0)
			add_count(&row, upstream->rate_requests);
		else
			add_null(&row);
		add_count(&row, in_window ? limit->used : 0);
		add_time(&row, upstream->rate_requests > 0 && in_window ?
				 limit->window_start + (int64) upstream->rate_window_ms * 1000 : 0);
		add_time(&row, limit->paused_until > now ? limit->paused_until : 0);
		add_text(&row, upstream->last_error);
		add_time(&row, upstream->last_error_at);
		end_row(&row);
	}
	return (Datum) 0;
}

Datum
wbcache_stat_memory_counters(PG_FUNCTION_ARGS)
{
	WbcMemoryInfo info;
	const WbcMemoryInfo *counts = &info;
	Row			one;
	Row		   *row = &one;

	begin_rows(fcinfo, row);
	wbc_memory_info(&info);
	WBC_MEMORY_BYTES(ADD_FIELD)
	WBC_MEMORY_GAUGES(ADD_FIELD)
	WBC_MEMORY_COUNTERS(ADD_FIELD)
	end_row(row);
	return (Datum) 0;
}

/*
 * What workers of this kind have to do, and do; nothing for those that carry no
 * flights.
 */
static void
count_flights(const WbcWorker *worker, int *queued, int *under_way)
{
	*queued = *under_way = 0;
	switch (worker->kind)
	{
		case WBC_WORKER_FETCHER:
			wbc_flight_count_of(worker->dbid, WBC_CARRIER_FETCHER, queued,
								under_way);
			break;
		case WBC_WORKER_LOADER:
			wbc_flight_count_of(worker->dbid, WBC_CARRIER_LOADER, queued,
								under_way);
			break;
		case WBC_WORKER_LAUNCHER:
		case WBC_WORKER_TASK:
			break;
	}
}

Datum
wbcache_stat_worker_entries(PG_FUNCTION_ARGS)
{
	Row			row;

	begin_rows(fcinfo, &row);
	for (int i = 0; i < WBC_WORKERS_MAX; i++)
	{
		WbcWorker	worker;
		int			queued;
		int			under_way;

		wbc_worker_read(i, &worker);
		if (!worker.in_use)
			continue;
		count_flights(&worker, &queued, &under_way);
		add_text(&row, wbc_worker_kind_name(worker.kind));
		add(&row, ObjectIdGetDatum(worker.dbid));
		if (worker.pid != 0)
			add(&row, Int32GetDatum((int32) worker.pid));
		else
			add_null(&row);
		add_time(&row, worker.started_at);
		add_count(&row, worker.starts);
		add_count(&row, queued);
		add_count(&row, under_way);
		end_row(&row);
	}
	return (Datum) 0;
}

Datum
wbcache_stat_invalidation_counters(PG_FUNCTION_ARGS)
{
	WbcJournalInfo info;
	Row			row;

	begin_rows(fcinfo, &row);
	wbc_journal_prepare();
	wbc_journal_info(GetCurrentTimestamp(), &info);
	add_count(&row, info.by_target[WBC_TARGET_KEY] +
			  info.by_target[WBC_TARGET_OWN_KEY]);
	add_count(&row, info.by_target[WBC_TARGET_TAG]);
	add_count(&row, info.by_target[WBC_TARGET_PATTERN]);
	add_count(&row, info.by_target[WBC_TARGET_EVERYTHING]);
	for (WbcReason reason = 0; reason < WBC_REASONS; reason++)
		add_count(&row, info.by_reason[reason]);
	add_count(&row, info.rows_purged);
	add_count(&row, info.per_minute);
	add_count(&row, wbc_guc_alert_rate);
	end_row(&row);
	return (Datum) 0;
}

Datum
wbcache_invalidation_event_entries(PG_FUNCTION_ARGS)
{
	WbcEvent   *events;
	uint64		lost;
	int			n;
	Row			row;

	begin_rows(fcinfo, &row);
	wbc_journal_prepare();
	events = palloc(WBC_EVENTS_MAX * sizeof(WbcEvent));
	n = wbc_journal_read(0, events, WBC_EVENTS_MAX, &lost);
	for (int i = 0; i < n; i++)
	{
		const WbcEvent *event = &events[i];

		add_count(&row, event->number);
		add_time(&row, event->at);
		add_text(&row, wbc_journal_reason_name(event->reason));
		add_text(&row, wbc_journal_target_name(event->target));
		if (event->len > 0)
			add(&row, PointerGetDatum(cstring_to_text_with_len(event->what,
															   event->len)));
		else
			add_null(&row);
		add_count(&row, event->count);
		end_row(&row);
	}
	return (Datum) 0;
}

Datum
wbcache_stat_reset(PG_FUNCTION_ARGS)
{
	wbc_shmem_require();
	wbc_metrics_reset(MyDatabaseId, GetCurrentTimestamp());
	wbc_upstream_reset(MyDatabaseId);
	wbc_journal_prepare();
	wbc_journal_reset();
	PG_RETURN_VOID();
}
