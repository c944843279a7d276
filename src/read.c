/*-------------------------------------------------------------------------
 *
 * read.c
 *	  SQL functions that read: get, lookup, get_many, get_with_swr, acquire,
 *	  get_sidebar.
 *
 * Layer 5.  All that they do is in swr.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "error.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "sidebar.h"
#include "swr.h"
#include "ttl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(wbcache_get);
PG_FUNCTION_INFO_V1(wbcache_lookup);
PG_FUNCTION_INFO_V1(wbcache_get_many);
PG_FUNCTION_INFO_V1(wbcache_get_with_swr);
PG_FUNCTION_INFO_V1(wbcache_acquire);
PG_FUNCTION_INFO_V1(wbcache_get_sidebar);

/*
 * Answers a read that was begun, or throws why it can't be.
 */
static void
finish_one(WbcRead *read)
{
	WbcRead    *reads[1] = {read};

	if (!wbc_swr_look(read))
		wbc_swr_fly(reads, 1);
	if (read->failed)
		wbc_error_throw(&read->error);
}

static void
read_one(WbcRead *read, const text *key)
{
	wbc_swr_prepare();
	wbc_swr_begin(read, key, GetCurrentTimestamp());
	finish_one(read);
}

Datum
wbcache_get(PG_FUNCTION_ARGS)
{
	WbcRead		read;

	read_one(&read, PG_GETARG_TEXT_PP(0));
	if (read.value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(read.value);
}

/* Who gets no sidebar doesn't need an endpoint of his own. */
static void
hint_to_bind(void *arg)
{
	if (geterrcode() == ERRCODE_UNDEFINED_OBJECT)
		errhint("Call wbcache.bind_events() with the table of events.");
}

/*
 * get_sidebar(sport_id, league_id).  Not strict: either may be NULL.
 */
Datum
wbcache_get_sidebar(PG_FUNCTION_ARGS)
{
	const text *sport = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	const text *league = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	const text *key = wbc_sidebar_key(sport, league);
	ErrorContextCallback context = {.callback = hint_to_bind, .previous = error_context_stack};
	WbcRead		read;

	wbc_swr_prepare();
	error_context_stack = &context;
	wbc_swr_begin(&read, key, GetCurrentTimestamp());
	error_context_stack = context.previous;
	finish_one(&read);
	if (read.value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(read.value);
}

/*
 * get_with_swr(key, loader, soft_ttl, hard_ttl)
 */
Datum
wbcache_get_with_swr(PG_FUNCTION_ARGS)
{
	WbcEndpoint rules;
	WbcRead		read;

	memset(&rules, 0, sizeof(rules));
	rules.soft_ttl = wbc_ttl_soft(PG_GETARG_INTERVAL_P(2));
	rules.hard_ttl = wbc_ttl_hard(PG_GETARG_INTERVAL_P(3));
	wbc_ttl_check_order(rules.soft_ttl, rules.hard_ttl);
	wbc_swr_prepare();
	wbc_swr_begin_ad_hoc(&read, PG_GETARG_TEXT_PP(0), &rules,
						 PG_GETARG_OID(1), GetCurrentTimestamp());
	finish_one(&read);
	if (read.value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(read.value);
}

/* ----------------------------------------------------------------
 * lookup
 * ----------------------------------------------------------------
 */

static const char *
status_label(WbcStatus status)
{
	switch (status)
	{
		case WBC_STATUS_HIT:
			return "hit";
		case WBC_STATUS_STALE:
			return "stale";
		case WBC_STATUS_MISS:
			return "miss";
		case WBC_STATUS_COLLAPSED:
			return "collapsed";
		case WBC_STATUS_BYPASS:
			return "bypass";
	}
	return NULL;				/* keep compiler quiet */
}

static Datum
status_datum(WbcStatus status, TupleDesc desc, int column)
{
	return DirectFunctionCall2(enum_in,
							   CStringGetDatum(status_label(status)),
							   ObjectIdGetDatum(TupleDescAttr(desc, column)->atttypid));
}

static char *
describe(const WbcRead *read)
{
	StringInfoData out;
	char	   *note;

	initStringInfo(&out);
	switch (read->status)
	{
		case WBC_STATUS_HIT:
		case WBC_STATUS_STALE:
			appendStringInfoString(&out, read->from_table ? "table tier" :
								   "memory tier");
			break;
		case WBC_STATUS_MISS:
		case WBC_STATUS_BYPASS:
			if (read->waited > 0)
				appendStringInfo(&out, "fetched in %.1f ms",
								 read->waited / 1000.0);
			break;
		case WBC_STATUS_COLLAPSED:
			appendStringInfo(&out, "waited %.1f ms for a fetch that others had asked for",
							 read->waited / 1000.0);
			break;
	}
	if (read->note != NULL)
		appendStringInfo(&out, "%s%s", out.len > 0 ? "; " : "", read->note);
	note = wbc_sidebar_note(read->route.endpoint, read->value);
	if (note != NULL)
		appendStringInfo(&out, "%s%s", out.len > 0 ? "; " : "", note);
	return out.data;
}

Datum
wbcache_lookup(PG_FUNCTION_ARGS)
{
	Datum		values[5];
	bool		nulls[5] = {false};
	TupleDesc	desc;
	WbcRead		read;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	read_one(&read, PG_GETARG_TEXT_PP(0));
	nulls[0] = nulls[2] = nulls[3] = read.value == NULL;
	if (read.value != NULL)
	{
		values[0] = PointerGetDatum(read.value);
		values[2] = wbc_ttl_as_interval(read.age);
		values[3] = wbc_ttl_as_interval(read.ttl);
	}
	values[1] = status_datum(read.status, desc, 1);
	values[4] = CStringGetTextDatum(describe(&read));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* ----------------------------------------------------------------
 * acquire
 * ----------------------------------------------------------------
 */

/*
 * Waits, as long as wbcache.max_wait allows, until there is a value or the
 * lease is ours: the one that others hold may get lost.
 */
static void
acquire(WbcRead *read, const text *key, int64 lease_time)
{
	WbcRead    *reads[1] = {read};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = now + (int64) wbc_guc_max_wait * 1000;

	do
	{
		wbc_swr_prepare();
		if (!wbc_endpoint_is_current())
			wbc_swr_prepare();
		wbc_swr_begin(read, key, now);
		wbc_swr_check_lease(read);
		read->lease_time = lease_time;
		read->deadline = deadline;
		if (!wbc_swr_look(read))
			wbc_swr_fly(reads, 1);
		if (read->failed)
			wbc_error_throw(&read->error);
		now = GetCurrentTimestamp();
	} while (read->lease_lost);
}

/*
 * acquire(key, lease_time) returns (value, status, lease)
 */
Datum
wbcache_acquire(PG_FUNCTION_ARGS)
{
	int64		lease_time = wbc_ttl_from_interval(PG_GETARG_INTERVAL_P(1),
												   "lease_time", 1000,
												   USECS_PER_HOUR,
												   "Give a time from 1 ms to 1 hour, such as '30 s'.");
	Datum		values[3];
	bool		nulls[3] = {false};
	TupleDesc	desc;
	WbcRead		read;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	acquire(&read, PG_GETARG_TEXT_PP(0), lease_time);
	nulls[0] = read.value == NULL;
	values[0] = PointerGetDatum(read.value);
	values[1] = status_datum(read.status, desc, 1);
	nulls[2] = read.lease == 0;
	values[2] = Int64GetDatum((int64) read.lease);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* ----------------------------------------------------------------
 * get_many
 * ----------------------------------------------------------------
 */

typedef struct Many
{
	int			n;
	Datum	   *keys;
	bool	   *null_keys;
	text	  **values;			/* NULL: none */
	char	  **errors;			/* NULL: none */
	WbcRead   **missing;
	int		   *missing_at;		/* index of the key it is for */
	int			nmissing;
} Many;

static void
take_answer(Many *many, int i, const WbcRead *read)
{
	many->values[i] = read->failed ? NULL : read->value;
	many->errors[i] = read->failed ? pstrdup(read->error.message) : NULL;
}

/*
 * Answers all keys that memory can answer, and keeps the other reads.
 */
static void
look_at_all(Many *many, TimestampTz now)
{
	WbcRead    *read = palloc(sizeof(WbcRead));

	wbc_swr_prepare();
	for (int i = 0; i < many->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (many->null_keys[i])
			continue;
		wbc_swr_begin(read, DatumGetTextPP(many->keys[i]), now);
		if (wbc_swr_look(read))
			take_answer(many, i, read);
		else
		{
			many->missing_at[many->nmissing] = i;
			many->missing[many->nmissing++] = read;
			read = palloc(sizeof(WbcRead));
		}
	}
}

static void
read_many(Many *many)
{
	many->values = palloc0(many->n * sizeof(text *));
	many->errors = palloc0(many->n * sizeof(char *));
	many->missing = palloc(many->n * sizeof(WbcRead *));
	many->missing_at = palloc(many->n * sizeof(int));
	many->nmissing = 0;

	look_at_all(many, GetCurrentTimestamp());
	if (many->nmissing > 0)
		wbc_swr_fly(many->missing, many->nmissing);
	for (int i = 0; i < many->nmissing; i++)
		take_answer(many, many->missing_at[i], many->missing[i]);
}

Datum
wbcache_get_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Size		size = 0;
	Many		many;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &many.keys, &many.null_keys, &many.n);
	if (many.n == 0)
		return (Datum) 0;

	read_many(&many);
	for (int i = 0; i < many.n; i++)
	{
		Datum		values[3];
		bool		nulls[3];

		nulls[0] = many.null_keys[i];
		values[0] = many.keys[i];
		nulls[1] = many.values[i] == NULL;
		values[1] = PointerGetDatum(many.values[i]);
		nulls[2] = many.errors[i] == NULL;
		values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(many.errors[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		size += nulls[1] ? 0 : VARSIZE(many.values[i]);
	}
	wbc_swr_keep_memory(size);
	return (Datum) 0;
}
