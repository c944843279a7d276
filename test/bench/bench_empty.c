/*-------------------------------------------------------------------------
 *
 * bench_empty.c
 *	  The least a C function can do to answer with 1 KB: the yardstick that
 *	  wbcache.get is held against.
 *
 * Loaded by bench.sh into its own private database only; no part of the
 * extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "bench_value.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(bench_empty);

static char value[BENCH_VALUE_SIZE];

void
_PG_init(void)
{
	bench_value_fill(value, BENCH_EMPTY_KEY);
}

/*
 * bench_empty(key text) returns text: a constant of BENCH_VALUE_SIZE bytes,
 * whatever the key.
 */
Datum
bench_empty(PG_FUNCTION_ARGS)
{
	text	   *result = (text *) palloc(VARHDRSZ + BENCH_VALUE_SIZE);

	SET_VARSIZE(result, VARHDRSZ + BENCH_VALUE_SIZE);
	memcpy(VARDATA(result), value, BENCH_VALUE_SIZE);
	PG_RETURN_TEXT_P(result);
}
