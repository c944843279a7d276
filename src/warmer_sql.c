/*-------------------------------------------------------------------------
 *
 * warmer_sql.c
 *	  SQL: warm_keys, and what the warmer has done.
 *
 * Layer 4.  warm_keys() is for warm_prop_categories() and warm_popular_props(),
 * which are in SQL: a client's call, which waits as get_many() does, for flights
 * in advance.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "ahead.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "flight.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "shmem.h"
#include "statement.h"
#include "storage/ipc.h"
#include "swr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "warmer.h"
#include "warmer_state.h"

/* Rows of the log that are kept. */
#define LOG_ROWS		"10000"

/* Most keys of one call. */
#define KEYS_MAX		1000

/* Above so many errors in the last run the warmer is degraded. */
#define ERRORS_MAX		5

PG_FUNCTION_INFO_V1(wbcache_warm_keys);
PG_FUNCTION_INFO_V1(wbcache_stat_warmer_entries);

/*
 * The names in wbcache.warmer_sportsbooks, as they are written there.
 */
List *
wbc_warmer_sportsbooks(MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	char	   *rest = pstrdup(wbc_guc_warmer_sportsbooks);
	List	   *names = NIL;
	char	   *name;

	while ((name = strsep(&rest, ",")) != NULL)
	{
		char	   *end;

		name += strspn(name, " \t");
		end = name + strlen(name);
		while (end > name && (end[-1] == ' ' || end[-1] == '\t'))
			*--end = '\0';
		if (name[0] != '\0')
			names = lappend(names, name);
	}
	MemoryContextSwitchTo(caller);
	return names;
}

/* ----------------------------------------------------------------
 * The log
 * ----------------------------------------------------------------
 */

static void
write_row(const WbcWarmLog *row)
{
	static const Oid types[6] = {
		TIMESTAMPTZOID, TEXTOID, TEXTOID, INT4OID, FLOAT8OID, TEXTOID
	};
	Datum		values[6];

	values[0] = TimestampTzGetDatum(row->at);
	values[1] = CStringGetTextDatum(row->fixture);
	values[2] = CStringGetTextDatum(row->key);
	values[3] = Int32GetDatum(row->priority);
	values[4] = Float8GetDatum(row->ms);
	values[5] = CStringGetTextDatum(row->result);
	(void) wbc_statement_execute("INSERT INTO wbcache.warm_log"
								 " (at, fixture_id, key, priority, ms, result)"
								 " VALUES ($1, $2, $3, $4, $5, $6)",
								 6, types, values,
								 row->priority < 0 ? "   n  " : NULL);
}

/*
 * Adds rows (WbcWarmLog) to the log.  A priority below zero is none.
 */
void
wbc_warmer_write_log(const List *rows, bool trim)
{
	WbcStatementScope scope;
	ListCell   *cell;

	wbc_statement_begin("warm_log", &scope);
	foreach(cell, rows)
		write_row(lfirst(cell));
	if (trim)
		(void) wbc_statement_execute("DELETE FROM wbcache.warm_log WHERE at OPERATOR(pg_catalog.<)"
									 " (SELECT pg_catalog.min(at) FROM (SELECT at FROM wbcache.warm_log"
									 " ORDER BY at DESC LIMIT " LOG_ROWS ") kept)",
									 0, NULL, NULL, NULL);
	wbc_statement_end(&scope);
}

/* ----------------------------------------------------------------
 * warm_keys
 * ----------------------------------------------------------------
 */

typedef struct Warming
{
	int			n;
	WbcRead    *reads;
	WbcWarm    *warm;
	Datum	   *keys;
} Warming;

static void
leave_all(int code, Datum arg)
{
	Warming    *warming = (Warming *) DatumGetPointer(arg);

	for (int i = 0; i < warming->n; i++)
		if (warming->reads[i].flight >= 0)
			wbc_flight_leave(warming->reads[i].flight);
}

static void
warm_all(Warming *warming)
{
	TimestampTz deadline = GetCurrentTimestamp() + (int64) wbc_guc_max_wait * 1000;

	wbc_swr_prepare();
	for (int i = 0; i < warming->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		wbc_swr_begin(&warming->reads[i], DatumGetTextPP(warming->keys[i]),
					  GetCurrentTimestamp());
		warming->warm[i] = wbc_swr_warm(&warming->reads[i], true);
	}
	for (int i = 0; i < warming->n; i++)
		if (warming->reads[i].flight >= 0)
			wbc_swr_warm_land(&warming->reads[i], deadline);
}

static const char *
result_of(const Warming *warming, int i)
{
	if (warming->reads[i].failed)
		return psprintf("failed: %s", warming->reads[i].error.message);
	switch (warming->warm[i])
	{
		case WBC_WARM_FRESH:
			return "fresh";
		case WBC_WARM_STARTED:
			return "fetched";
		case WBC_WARM_JOINED:
			return "joined";
		case WBC_WARM_FAILED:
		case WBC_WARM_MISSING:
			break;
	}
	return "failed: too many fetches are under way";
}

/*
 * Returns a row for each key, and adds what was not there to the log.
 */
static void
return_all(const Warming *warming, const char *fixture, ReturnSetInfo *result)
{
	List	   *log = NIL;

	for (int i = 0; i < warming->n; i++)
	{
		const WbcRead *read = &warming->reads[i];
		WbcWarmLog *row = palloc(sizeof(WbcWarmLog));
		Datum		values[3];
		bool		nulls[3] = {false};

		row->at = GetCurrentTimestamp();
		row->fixture = fixture;
		row->key = TextDatumGetCString(warming->keys[i]);
		row->priority = -1;
		row->ms = read->waited / 1000.0;
		row->result = result_of(warming, i);
		if (warming->warm[i] != WBC_WARM_FRESH)
			log = lappend(log, row);
		values[0] = warming->keys[i];
		values[1] = CStringGetTextDatum(row->result);
		nulls[2] = read->failed || read->value == NULL;
		values[2] = PointerGetDatum(read->value);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	if (log != NIL && !XactReadOnly)
		wbc_warmer_write_log(log, true);
}

/*
 * warm_keys(fixture_id, keys) returns (key, result, value)
 */
Datum
wbcache_warm_keys(PG_FUNCTION_ARGS)
{
	Warming		warming;
	bool	   *nulls;

	wbc_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &warming.keys, &nulls, &warming.n);
	if (warming.n > KEYS_MAX || array_contains_nulls(PG_GETARG_ARRAYTYPE_P(1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys has a NULL or more than %d elements", KEYS_MAX),
				 errhint("Give fewer keys in a call.")));
	warming.reads = palloc0(Max(warming.n, 1) * sizeof(WbcRead));
	warming.warm = palloc(Max(warming.n, 1) * sizeof(WbcWarm));
	for (int i = 0; i < warming.n; i++)
		warming.reads[i].flight = -1;

	PG_ENSURE_ERROR_CLEANUP(leave_all, PointerGetDatum(&warming));
	{
		warm_all(&warming);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_all, PointerGetDatum(&warming));
	return_all(&warming, text_to_cstring(PG_GETARG_TEXT_PP(0)),
			   (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* ----------------------------------------------------------------
 * What it has done
 * ----------------------------------------------------------------
 */

static const char *
end_label(WbcWarmerEnd end)
{
	switch (end)
	{
		case WBC_WARMER_NEVER:
			break;
		case WBC_WARMER_DONE:
			return "done";
		case WBC_WARMER_FAILED:
			return "failed";
		case WBC_WARMER_INTERRUPTED:
			return "interrupted";
	}
	return NULL;
}

static Datum
moment(TimestampTz at, bool *null)
{
	*null = at == 0;
	return TimestampTzGetDatum(at);
}

static Datum
word(const char *text, bool *null)
{
	*null = text == NULL || text[0] == '\0';
	return *null ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * stat_warmer_entries(): one row
 */
Datum
wbcache_stat_warmer_entries(PG_FUNCTION_ARGS)
{
#define NOW(name, description) values[n++] = Int64GetDatum(state.now.name);
#define TOTAL(name, description) values[n++] = Int64GetDatum(state.total.name);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WbcWarmerState state;
	Datum		values[22];
	bool		nulls[22] = {false};
	int			n = 0;

	wbc_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	wbc_warmer_state_read(&state);

	values[n++] = BoolGetDatum(state.pid != 0);
	values[n++] = Int64GetDatum(state.runs);
	values[n] = moment(state.started_at, &nulls[n]);
	n++;
	values[n] = moment(state.ended_at, &nulls[n]);
	n++;
	values[n] = word(end_label(state.end), &nulls[n]);
	n++;
	values[n] = word(state.error, &nulls[n]);
	n++;
	values[n++] = BoolGetDatum(Max(state.now.errors, state.last_errors) > ERRORS_MAX ||
							   state.end == WBC_WARMER_FAILED);
	values[n++] = Int64GetDatum(wbc_ahead_count(MyDatabaseId));
	values[n++] = Int64GetDatum(state.refreshes_ahead);
	WBC_WARMER_COUNTERS(NOW)
	WBC_WARMER_COUNTERS(TOTAL)
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
#undef NOW
#undef TOTAL
}
