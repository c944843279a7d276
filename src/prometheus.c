/*-------------------------------------------------------------------------
 *
 * prometheus.c
 *	  SQL: metrics(), all statistics in the text format of Prometheus.
 *
 * Layer 5.  What there is, is in describe.c; the numbers come from the views, by
 * one query for each group, with the rights of whoever asks.  A column that is
 * NULL is left out.  No label is ever a key: there would be as many series as
 * keys.
 *
 * monitoring/wbcache_exporter.yml gives the same metrics to
 * prometheus-postgres-exporter; a test compares.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "describe.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(wbcache_metrics);

#define LABELS_MAX	3

/* Where the numbers of a group come from, and what tells its rows apart. */
typedef struct Source
{
	const char *labels[LABELS_MAX];
	const char *query;
} Source;

static const Source sources[WBC_GROUPS] = {
	[WBC_GROUP_ENDPOINT] = {{"datname", "endpoint"},
	"SELECT pg_catalog.current_database() AS datname, * FROM wbcache.stat_endpoint ORDER BY endpoint"},
	[WBC_GROUP_LATENCY] = {{"datname", "endpoint", "operation"},
	"SELECT pg_catalog.current_database() AS datname, * FROM wbcache.stat_latency_histograms() ORDER BY endpoint, operation"},
	[WBC_GROUP_SERVER] = {{"datname", "foreign_server"},
	"SELECT pg_catalog.current_database() AS datname, server AS foreign_server, *, (breaker_state <> 'closed')::int AS breaker_open FROM wbcache.stat_server ORDER BY server"},
	[WBC_GROUP_COALESCER] = {{NULL},
	"SELECT * FROM wbcache.stat_coalescer"},
	[WBC_GROUP_INVALIDATION] = {{"datname"},
	"SELECT pg_catalog.current_database() AS datname, * FROM wbcache.stat_invalidation"},
	[WBC_GROUP_SIDEBAR] = {{"datname"},
		"SELECT pg_catalog.current_database() AS datname, fallbacks,"
		" (SELECT extract(epoch FROM clock_timestamp() - max(started)) FROM wbcache.sidebar_refresh_log WHERE error IS NULL) AS age_seconds"
	" FROM wbcache.stat_endpoint_counters() WHERE endpoint = 'sidebar'"},
	[WBC_GROUP_WARMER] = {{"datname"},
	"SELECT pg_catalog.current_database() AS datname, *, (status <> 'ok')::int AS degraded FROM wbcache.stat_warmer"},
	[WBC_GROUP_WARMUP] = {{"datname"},
	"SELECT pg_catalog.current_database() AS datname, * FROM wbcache.stat_warmup"},
	[WBC_GROUP_MEMORY] = {{NULL},
	"SELECT * FROM wbcache.stat_memory"},
	[WBC_GROUP_WORKER] = {{"datname", "kind"},
		"SELECT database AS datname, kind, count(pid) AS running, sum(starts) AS starts,"
		" max(flights_queued) AS flights_queued, max(flights_under_way) AS flights_under_way"
	" FROM wbcache.stat_worker WHERE kind <> 'task' GROUP BY 1, 2 ORDER BY 1, 2"}
};

/* ----------------------------------------------------------------
 * Pieces of the format
 * ----------------------------------------------------------------
 */

/* In a label's value; in a help text double quotes may stand as they are. */
static void
append_escaped(StringInfo out, const char *text, bool in_label)
{
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '\\')
			appendStringInfoString(out, "\\\\");
		else if (*c == '\n')
			appendStringInfoString(out, "\\n");
		else if (*c == '"' && in_label)
			appendStringInfoString(out, "\\\"");
		else
			appendStringInfoChar(out, *c);
	}
}

static void
append_header(StringInfo out, const WbcDescription *description,
			  const char *metric)
{
	appendStringInfo(out, "# HELP %s ", metric);
	append_escaped(out, description->text, false);
	appendStringInfo(out, "\n# TYPE %s %s\n", metric,
					 wbc_describe_type(description->measure));
}

/*
 * The labels of a row, without braces; a NULL is left out.
 */
static char *
labels_of(const Source *source, SPITupleTable *rows, uint64 row)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < LABELS_MAX && source->labels[i] != NULL; i++)
	{
		int			column = SPI_fnumber(rows->tupdesc, source->labels[i]);
		char	   *value = SPI_getvalue(rows->vals[row], rows->tupdesc, column);

		if (value == NULL)
			continue;
		appendStringInfo(&out, "%s%s=\"", out.len > 0 ? "," : "",
						 source->labels[i]);
		append_escaped(&out, value, true);
		appendStringInfoChar(&out, '"');
	}
	return out.data;
}

static void
append_sample(StringInfo out, const char *metric, const char *suffix,
			  const char *labels, const char *value)
{
	appendStringInfo(out, "%s%s", metric, suffix);
	if (labels[0] != '\0')
		appendStringInfo(out, "{%s}", labels);
	appendStringInfo(out, " %s\n", value);
}

/* ----------------------------------------------------------------
 * Metrics
 * ----------------------------------------------------------------
 */

/* A column that the query is known to return. */
static int
column_of(SPITupleTable *rows, const char *name)
{
	int			column = SPI_fnumber(rows->tupdesc, name);

	if (column < 1)
		elog(ERROR, "no column \"%s\" for a metric", name);
	return column;
}

/*
 * The value in the unit of its metric; NULL for NULL.
 */
static char *
value_of(const WbcDescription *description, SPITupleTable *rows, uint64 row)
{
	int			column = column_of(rows, description->name);
	char	   *value = SPI_getvalue(rows->vals[row], rows->tupdesc, column);

	if (value == NULL || description->measure != WBC_MEASURE_COUNTER_US)
		return value;
	return psprintf("%.6f", atof(value) / 1e6);
}

static void
append_numbers(StringInfo out, const WbcDescription *description,
			   const char *metric, SPITupleTable *rows)
{
	const Source *source = &sources[description->group];
	bool		begun = false;

	for (uint64 row = 0; row < rows->numvals; row++)
	{
		char	   *value = value_of(description, rows, row);

		if (value == NULL)
			continue;
		if (!begun)
			append_header(out, description, metric);
		begun = true;
		append_sample(out, metric, "", labels_of(source, rows, row), value);
	}
}

static int
array_of(SPITupleTable *rows, uint64 row, const char *name, Oid type,
		 Datum **elements)
{
	int			column = column_of(rows, name);
	bool		is_null;
	Datum		array = SPI_getbinval(rows->vals[row], rows->tupdesc, column,
									  &is_null);
	int			n;

	if (is_null)
		elog(ERROR, "no array \"%s\" for a histogram", name);
	deconstruct_array(DatumGetArrayTypeP(array), type, 8, FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, elements, NULL, &n);
	return n;
}

static void
append_histogram(StringInfo out, const char *metric, const char *labels,
				 SPITupleTable *rows, uint64 row)
{
	TupleDesc	desc = rows->tupdesc;
	HeapTuple	tuple = rows->vals[row];
	char	   *count = SPI_getvalue(tuple, desc, column_of(rows, "count"));
	char	   *sum = SPI_getvalue(tuple, desc, column_of(rows, "sum"));
	Datum	   *bounds;
	Datum	   *buckets;
	int			n = array_of(rows, row, "bounds", FLOAT8OID, &bounds);

	if (array_of(rows, row, "buckets", INT8OID, &buckets) != n)
		elog(ERROR, "a histogram has more bounds than buckets, or less");
	for (int i = 0; i < n; i++)
		append_sample(out, metric, "_bucket",
					  psprintf("%s,le=\"%g\"", labels, DatumGetFloat8(bounds[i])),
					  psprintf(INT64_FORMAT, DatumGetInt64(buckets[i])));
	append_sample(out, metric, "_bucket", psprintf("%s,le=\"+Inf\"", labels),
				  count);
	append_sample(out, metric, "_sum", labels, sum);
	append_sample(out, metric, "_count", labels, count);
}

static void
append_histograms(StringInfo out, const WbcDescription *description,
				  const char *metric, SPITupleTable *rows)
{
	if (rows->numvals > 0)
		append_header(out, description, metric);
	for (uint64 row = 0; row < rows->numvals; row++)
		append_histogram(out, metric,
						 labels_of(&sources[description->group], rows, row),
						 rows, row);
}

static void
append_metric(StringInfo out, const WbcDescription *description,
			  SPITupleTable *rows)
{
	StringInfoData metric;

	initStringInfo(&metric);
	wbc_describe_metric(description, &metric);
	switch (description->measure)
	{
		case WBC_MEASURE_COUNTER:
		case WBC_MEASURE_COUNTER_US:
		case WBC_MEASURE_TOTAL:
		case WBC_MEASURE_GAUGE:
		case WBC_MEASURE_LAST:
		case WBC_MEASURE_BYTES:
			append_numbers(out, description, metric.data, rows);
			break;
		case WBC_MEASURE_HISTOGRAM:
			append_histograms(out, description, metric.data, rows);
			break;
	}
}

/*
 * One query for all that a group has, so that its numbers fit together.
 */
static void
append_group(StringInfo out, WbcGroup group)
{
	if (SPI_execute(sources[group].query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the statistics of group %d", (int) group);
	for (int i = 0; i < wbc_describe_count(); i++)
		if (wbc_describe(i)->group == group)
			append_metric(out, wbc_describe(i), SPI_tuptable);
	SPI_freetuptable(SPI_tuptable);
}

Datum
wbcache_metrics(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	wbc_shmem_require();
	initStringInfo(&out);		/* outlives SPI */
	SPI_connect();
	for (WbcGroup group = 0; group < WBC_GROUPS; group++)
		append_group(&out, group);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
