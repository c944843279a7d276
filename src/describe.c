/*-------------------------------------------------------------------------
 *
 * describe.c
 *	  What there is to measure, in one list.
 *
 * Layer 5.  The lists themselves are beside what they are about, in the headers
 * of the modules.  From here they get into the comments of the views' columns
 * (the install script takes them from metric_descriptions()), and into the help
 * of the metrics (prometheus.c); the README and the query file in monitoring/
 * repeat them, and a test compares.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "describe.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hotkey.h"
#include "journal.h"
#include "memory.h"
#include "metrics.h"
#include "upstream.h"
#include "utils/builtins.h"
#include "warmer_state.h"

PG_FUNCTION_INFO_V1(wbcache_metric_descriptions);

static const WbcDescription descriptions[] = {
#define X(name, text) {WBC_GROUP_ENDPOINT, #name, WBC_MEASURE_COUNTER, true, text},
	WBC_ENDPOINT_COUNTERS(X)
#undef X

	{WBC_GROUP_LATENCY, "seconds", WBC_MEASURE_HISTOGRAM, false,
	"how long an operation took; of the hits one in 16 is in it"},

#define X(name, text) {WBC_GROUP_SERVER, #name, WBC_MEASURE_GAUGE, true, text},
	WBC_UPSTREAM_GAUGES(X)
#undef X
#define X(name, text) {WBC_GROUP_SERVER, #name, WBC_MEASURE_COUNTER, true, text},
	WBC_UPSTREAM_COUNTERS(X)
#undef X
	{WBC_GROUP_SERVER, "breaker_open", WBC_MEASURE_GAUGE, false,
	"1 unless the circuit breaker is closed"},

#define X(name, text) {WBC_GROUP_COALESCER, #name, WBC_MEASURE_COUNTER, true, text},
	WBC_COALESCER_COUNTERS(X)
#undef X
#define X(name, text) {WBC_GROUP_COALESCER, #name, WBC_MEASURE_COUNTER_US, true, text},
	WBC_COALESCER_TIMES(X)
#undef X
#define X(name, text) {WBC_GROUP_COALESCER, #name, WBC_MEASURE_GAUGE, true, text},
	WBC_COALESCER_GAUGES(X)
#undef X

#define X(name, text) {WBC_GROUP_INVALIDATION, #name, WBC_MEASURE_COUNTER, true, text},
	WBC_JOURNAL_TARGETS(X)
	WBC_JOURNAL_REASONS(X)
	WBC_JOURNAL_COUNTERS(X)
#undef X
#define X(name, text) {WBC_GROUP_INVALIDATION, #name, WBC_MEASURE_GAUGE, true, text},
	WBC_JOURNAL_GAUGES(X)
#undef X

#define X(name, text) {WBC_GROUP_SIDEBAR, #name, WBC_MEASURE_COUNTER, true, text},
	WBC_SIDEBAR_COUNTERS(X)
#undef X
	{WBC_GROUP_SIDEBAR, "age_seconds", WBC_MEASURE_GAUGE, false,
	"time since the start of the last refresh of sidebar_data that succeeded"},

	{WBC_GROUP_WARMER, "degraded", WBC_MEASURE_GAUGE, false,
	"1 unless the status is ok"},
	{WBC_GROUP_WARMER, "runs", WBC_MEASURE_COUNTER, true,
	"runs that were started"},
#define X(name, text) {WBC_GROUP_WARMER, #name, WBC_MEASURE_LAST, true, "last run: " text},
	WBC_WARMER_COUNTERS(X)
#undef X
#define X(name, text) {WBC_GROUP_WARMER, "total_" #name, WBC_MEASURE_TOTAL, true, "all runs: " text},
	WBC_WARMER_COUNTERS(X)
#undef X
	{WBC_GROUP_WARMER, "keys_ahead", WBC_MEASURE_GAUGE, true,
	"keys that are refreshed before they turn stale; 4,096 at most over all databases"},
	{WBC_GROUP_WARMER, "refreshes_ahead", WBC_MEASURE_COUNTER, true,
	"such refreshes that were started"},

	{WBC_GROUP_WARMUP, "hot_keys", WBC_MEASURE_GAUGE, true,
	"rows of wbcache.hot_key"},
#define X(name, text) {WBC_GROUP_WARMUP, #name, WBC_MEASURE_GAUGE, true, text},
	WBC_HOTKEY_GAUGES(X)
#undef X

#define X(name, text) {WBC_GROUP_MEMORY, #name, WBC_MEASURE_BYTES, true, text},
	WBC_MEMORY_BYTES(X)
#undef X
#define X(name, text) {WBC_GROUP_MEMORY, #name, WBC_MEASURE_GAUGE, true, text},
	WBC_MEMORY_GAUGES(X)
#undef X
#define X(name, text) {WBC_GROUP_MEMORY, #name, WBC_MEASURE_COUNTER, true, text},
	WBC_MEMORY_COUNTERS(X)
#undef X

	{WBC_GROUP_WORKER, "running", WBC_MEASURE_GAUGE, false,
	"processes of the kind that run"},
	{WBC_GROUP_WORKER, "starts", WBC_MEASURE_COUNTER, true,
	"how often it was started since the server start"},
	{WBC_GROUP_WORKER, "flights_queued", WBC_MEASURE_GAUGE, true,
	"flights that wait for workers of its kind"},
	{WBC_GROUP_WORKER, "flights_under_way", WBC_MEASURE_GAUGE, true,
	"flights that workers of its kind have under way"},
};

int
wbc_describe_count(void)
{
	return lengthof(descriptions);
}

const WbcDescription *
wbc_describe(int i)
{
	return &descriptions[i];
}

static const char *
name_of(WbcGroup group)
{
#define X(symbol, name, view) name,
	static const char *const names[WBC_GROUPS] = {WBC_EACH_GROUP(X)};
#undef X

	return names[group];
}

static const char *
view_of(WbcGroup group)
{
#define X(symbol, name, view) view,
	static const char *const names[WBC_GROUPS] = {WBC_EACH_GROUP(X)};
#undef X

	return names[group];
}

/* In the words of Prometheus. */
const char *
wbc_describe_type(WbcMeasure measure)
{
	switch (measure)
	{
		case WBC_MEASURE_COUNTER:
		case WBC_MEASURE_COUNTER_US:
		case WBC_MEASURE_TOTAL:
			return "counter";
		case WBC_MEASURE_GAUGE:
		case WBC_MEASURE_LAST:
		case WBC_MEASURE_BYTES:
			return "gauge";
		case WBC_MEASURE_HISTOGRAM:
			return "histogram";
	}
	return NULL;				/* keep compiler quiet */
}

/*
 * Appends the name of its metric: wbcache, the group, the column, and what the
 * conventions of Prometheus add to that.
 */
void
wbc_describe_metric(const WbcDescription *description, StringInfo out)
{
	const char *name = description->name;

	appendStringInfo(out, "wbcache_%s_", name_of(description->group));
	switch (description->measure)
	{
		case WBC_MEASURE_COUNTER:
			appendStringInfo(out, "%s_total", name);
			break;
		case WBC_MEASURE_COUNTER_US:
			appendStringInfo(out, "%.*s_seconds_total",
							 (int) (strlen(name) - strlen("_us")), name);
			break;
		case WBC_MEASURE_TOTAL:
			appendStringInfo(out, "%s_total", name + strlen("total_"));
			break;
		case WBC_MEASURE_LAST:
			appendStringInfo(out, "last_%s", name);
			break;
		case WBC_MEASURE_GAUGE:
		case WBC_MEASURE_HISTOGRAM:
			appendStringInfoString(out, name);
			break;
		case WBC_MEASURE_BYTES:
			appendStringInfo(out, "%s_bytes", name);
			break;
	}
}

/*
 * metric_descriptions() returns (metric, type, view, attribute, description)
 */
Datum
wbcache_metric_descriptions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(descriptions); i++)
	{
		const WbcDescription *each = &descriptions[i];
		StringInfoData metric;
		Datum		values[5];
		bool		nulls[5] = {false};

		initStringInfo(&metric);
		wbc_describe_metric(each, &metric);
		values[0] = CStringGetTextDatum(metric.data);
		values[1] = CStringGetTextDatum(wbc_describe_type(each->measure));
		values[2] = DirectFunctionCall1(namein,
										CStringGetDatum(view_of(each->group)));
		values[3] = DirectFunctionCall1(namein, CStringGetDatum(each->name));
		nulls[3] = !each->in_view;
		values[4] = CStringGetTextDatum(each->text);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
