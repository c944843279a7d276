/*-------------------------------------------------------------------------
 *
 * hotkey_table.c
 *	  The table wbcache.hot_key.
 *
 * Layer 4, a part of hotkey.c.
 *
 * It is a small logged table, read and written by the keeper only.  A row says
 * how often its key was used when that was noted, and is worth less each minute
 * since, as the uses in memory are.  So a row has to be written only when its key
 * has become twice as hot, and a steady load writes little.  A key that memory
 * doesn't know keeps its row as long as that is among the hottest and worth
 * anything: after a restart memory knows but a part.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "hotkey_parts.h"
#include "key.h"
#include "miscadmin.h"
#include "statement.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define READ \
	"SELECT key, endpoint, uses, noted_at FROM wbcache.hot_key"

/*
 * $1 to $3: keys that memory knows, with their endpoints and uses.  $4 to $6:
 * rows that may stay, uses of now.  $7: how many, $8: now.
 */
#define WRITE \
	"WITH seen AS (SELECT key COLLATE \"C\", endpoint, uses" \
	"  FROM unnest($1, $2, $3) s (key, endpoint, uses))," \
	" kept AS (SELECT key COLLATE \"C\", endpoint, uses" \
	"  FROM unnest($4, $5, $6) k (key, endpoint, uses))," \
	" merged AS MATERIALIZED (SELECT coalesce(s.key, k.key) AS key," \
	"  coalesce(s.endpoint, k.endpoint) AS endpoint," \
	"  greatest(s.uses, k.uses) AS uses, k.uses AS uses_before" \
	"  FROM seen s FULL JOIN kept k ON k.key = s.key" \
	"  ORDER BY 3 DESC, 1 LIMIT $7)," \
	" gone AS (DELETE FROM wbcache.hot_key h" \
	"  WHERE NOT EXISTS (SELECT FROM merged m WHERE m.key = h.key))" \
	" INSERT INTO wbcache.hot_key AS h (key, endpoint, uses, noted_at)" \
	"  SELECT key, endpoint, uses, $8 FROM merged" \
	"  WHERE uses_before IS NULL OR uses >= 2 * uses_before" \
	" ON CONFLICT (key) DO UPDATE SET endpoint = excluded.endpoint," \
	"  uses = excluded.uses, noted_at = excluded.noted_at"

/*
 * What a row says, uses of now.  Returns false for one that is of no use.
 */
static bool
take_row(HeapTuple tuple, TupleDesc desc, TimestampTz now, WbcHotkey *row)
{
	bool		null;
	text	   *key = DatumGetTextPP(SPI_getbinval(tuple, desc, 1, &null));
	int64		uses = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &null));
	TimestampTz noted_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 4, &null));
	WbcRoute	route;

	if (!wbc_key_is_possible(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)))
		return false;
	wbc_key_make(&row->use.key, MyDatabaseId, VARDATA_ANY(key),
				 VARSIZE_ANY_EXHDR(key));
	row->endpoint = *DatumGetName(SPI_getbinval(tuple, desc, 2, &null));
	row->use.uses = wbc_memory_aged(Max(Min(uses, PG_INT32_MAX), 0),
									(now - noted_at) / USECS_PER_MINUTE);
	return row->use.uses > 0 &&
		wbc_hotkey_can_fetch(&row->use.key, &route) &&
		strcmp(NameStr(row->endpoint), NameStr(route.endpoint->name)) == 0;
}

/*
 * The rows of keys that are still hot, and that their endpoint still has and can
 * fetch, in the current memory context.  In a transaction of
 * wbc_statement_transaction(); the table is there, the endpoints are prepared.
 */
int
wbc_hotkey_read(WbcHotkey **rows, TimestampTz now)
{
	MemoryContext caller = CurrentMemoryContext;
	WbcStatementScope scope;
	int			n = 0;

	wbc_statement_begin("hot_key", &scope);
	(void) wbc_statement_execute(READ, 0, NULL, NULL, NULL);
	*rows = MemoryContextAllocHuge(caller,
								   (SPI_processed + 1) * sizeof(WbcHotkey));
	for (uint64 i = 0; i < SPI_processed; i++)
		if (take_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, now,
					 &(*rows)[n]))
			n++;
	wbc_statement_end(&scope);
	return n;
}

/* Three arrays: keys, endpoints, uses. */
static void
make_arrays(const WbcHotkey *hot, int n, Datum *arrays)
{
	Datum	   *keys = palloc((n + 1) * sizeof(Datum));
	Datum	   *endpoints = palloc((n + 1) * sizeof(Datum));
	Datum	   *uses = palloc((n + 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		const WbcKey *key = &hot[i].use.key;

		keys[i] = PointerGetDatum(cstring_to_text_with_len(key->data, key->len));
		endpoints[i] = NameGetDatum(&hot[i].endpoint);
		uses[i] = Int64GetDatum(hot[i].use.uses);
	}
	arrays[0] = PointerGetDatum(construct_array(keys, n, TEXTOID, -1, false,
												TYPALIGN_INT));
	arrays[1] = PointerGetDatum(construct_array(endpoints, n, NAMEOID, NAMEDATALEN,
												false, TYPALIGN_CHAR));
	arrays[2] = PointerGetDatum(construct_array(uses, n, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Merges what memory knows into the table, which keeps so many rows at most.
 * Does nothing while somebody has locked the table.  As for wbc_hotkey_read().
 */
void
wbc_hotkey_write(const WbcHotkey *hot, int nhot, int most, TimestampTz now)
{
	static const Oid types[] = {
		TEXTARRAYOID, NAMEARRAYOID, INT8ARRAYOID,
		TEXTARRAYOID, NAMEARRAYOID, INT8ARRAYOID, INT8OID, TIMESTAMPTZOID
	};
	Datum		values[lengthof(types)];
	WbcStatementScope scope;
	WbcHotkey  *rows;
	int			nrows;

	if (!ConditionalLockRelationOid(wbc_statement_table("hot_key"),
									RowExclusiveLock))
		return;
	nrows = wbc_hotkey_read(&rows, now);
	make_arrays(hot, nhot, &values[0]);
	make_arrays(rows, nrows, &values[3]);
	values[6] = Int64GetDatum(most);
	values[7] = TimestampTzGetDatum(now);
	wbc_statement_set("search_path", "pg_catalog, pg_temp", GUC_ACTION_LOCAL);
	wbc_statement_begin("hot_key", &scope);
	(void) wbc_statement_execute(WRITE, lengthof(types), types, values, NULL);
	wbc_statement_end(&scope);
}
