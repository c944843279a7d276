/*-------------------------------------------------------------------------
 *
 * table.c
 *	  The table tier: the table wbcache.entry.
 *
 * Layer 2.  Read by clients, on a miss in memory, by a plain index scan that
 * takes no lock it would have to wait for; written by loaders only, through
 * SPI, in transactions of their own.  These take no lock either that they would
 * have to wait for, neither of the table nor of a row: whoever looks at it by
 * hand, and locks something, is not in their way, nor they in his.
 *
 * A row carries the epoch and the generations under which its value was made.
 * It is of use only while they are current: rows are invalidated by the same
 * atomic add as entries in memory, and removed some time later.
 *
 * Not on a hot standby: an unlogged table can't be read there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "key.h"
#include "miscadmin.h"
#include "shmem.h"
#include "stamp.h"
#include "statement.h"
#include "storage/lmgr.h"
#include "table.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The columns, in order. */
enum
{
	COLUMN_KEY,
	COLUMN_ROLE,
	COLUMN_LOADER,
	COLUMN_ENDPOINT,
	COLUMN_VALUE,
	COLUMN_TAGS,
	COLUMN_ETAG,
	COLUMN_LAST_MODIFIED,
	COLUMN_CACHED_AT,
	COLUMN_SOFT_EXPIRES_AT,
	COLUMN_HARD_EXPIRES_AT,
	COLUMN_FETCH_STARTED,
	COLUMN_FETCH_MS,
	COLUMN_SOURCE,
	COLUMN_EPOCH,
	COLUMN_STRIPES,
	COLUMN_GENERATIONS,
	COLUMNS
};

static const Oid column_types[COLUMNS] = {
	TEXTOID, OIDOID, OIDOID, NAMEOID, JSONOID, TEXTARRAYOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID,
	INT8OID, INT8OID, INT4ARRAYOID, INT8ARRAYOID
};

#define HAS_KEY \
	" WHERE key OPERATOR(pg_catalog.=) $1 AND role OPERATOR(pg_catalog.=) $2" \
	" AND loader OPERATOR(pg_catalog.=) $3"

/*
 * ON CONFLICT would wait for whoever has changed the row, or locked it: so one
 * statement for a new row, and one for a row that is there.
 */
#define INSERT \
	"INSERT INTO wbcache.entry SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9," \
	" $10, $11, $12, $13, $14, $15, $16, $17" \
	" WHERE NOT EXISTS (SELECT FROM wbcache.entry" HAS_KEY ")" \
	" ON CONFLICT (key, role, loader) DO NOTHING"

/*
 * Returns a row unless somebody has locked it; also when it isn't replaced,
 * because a later fetch never is by an earlier one.
 */
#define UPDATE \
	"WITH free AS (SELECT ctid FROM wbcache.entry" HAS_KEY \
	" FOR NO KEY UPDATE SKIP LOCKED)," \
	" updated AS (UPDATE wbcache.entry SET" \
	" endpoint = $4, value = $5, tags = $6, etag = $7, last_modified = $8," \
	" cached_at = $9, soft_expires_at = $10, hard_expires_at = $11," \
	" fetch_started = $12, fetch_ms = $13, source = $14, epoch = $15," \
	" stripes = $16, generations = $17" \
	" WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM free))" \
	" AND (epoch OPERATOR(pg_catalog.<>) $15" \
	" OR fetch_started OPERATOR(pg_catalog.<=) $12))" \
	" SELECT FROM free"

#define PURGE \
	"DELETE FROM wbcache.entry WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	" SELECT ctid FROM wbcache.entry" \
	" WHERE hard_expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()" \
	" OR NOT wbcache.entry_is_current(key, epoch, stripes, generations)" \
	" LIMIT $1 FOR UPDATE SKIP LOCKED))"

/* Fewer large values are never worth a vacuum. */
#define VACUUM_LEAST	500

/*
 * Large values this process has replaced since its last vacuum, and how many it
 * takes for the next.
 */
static uint64 toast_left = 0;
static uint64 toast_limit = 0;

PG_FUNCTION_INFO_V1(wbcache_entry_is_current);

/* ----------------------------------------------------------------
 * Generations in a row
 * ----------------------------------------------------------------
 */

/*
 * Takes apart the arrays of a row.  Returns false if they are not what this
 * module writes.
 */
static bool
read_stamp(ArrayType *stripes, ArrayType *seen, WbcStamp *stamp)
{
	int			n = ArrayGetNItems(ARR_NDIM(stripes), ARR_DIMS(stripes));

	if (ARR_HASNULL(stripes) || ARR_HASNULL(seen) || n == 0 ||
		n > WBC_STAMP_MAX ||
		n != ArrayGetNItems(ARR_NDIM(seen), ARR_DIMS(seen)))
		return false;

	stamp->n = n;
	memcpy(stamp->stripe, ARR_DATA_PTR(stripes), n * sizeof(uint32));
	memcpy(stamp->seen, ARR_DATA_PTR(seen), n * sizeof(uint64));
	return wbc_generation_stamp_is_valid(stamp);
}

/*
 * entry_is_current(key, epoch, stripes, generations): is a row still of use?
 */
Datum
wbcache_entry_is_current(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	WbcStamp	stamp;
	WbcKey		key;

	wbc_shmem_require();
	if (VARSIZE_ANY_EXHDR(name) > WBC_KEY_MAX)
		PG_RETURN_BOOL(false);
	wbc_key_make(&key, MyDatabaseId, VARDATA_ANY(name),
				 VARSIZE_ANY_EXHDR(name));
	PG_RETURN_BOOL((uint64) PG_GETARG_INT64(1) == wbc_generation_epoch(MyDatabaseId) &&
				   read_stamp(PG_GETARG_ARRAYTYPE_P(2),
							  PG_GETARG_ARRAYTYPE_P(3), &stamp) &&
				   wbc_stamp_is_current(&key, &stamp));
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

bool
wbc_table_exists(void)
{
	return OidIsValid(wbc_statement_table("entry"));
}

/*
 * Opens the table unless that would mean to wait, or it isn't there.
 */
static Relation
open_at_once(void)
{
	Oid			oid = wbc_statement_table("entry");
	Relation	table;

	if (!OidIsValid(oid) ||
		!ConditionalLockRelationOid(oid, AccessShareLock))
		return NULL;
	table = try_relation_open(oid, NoLock);
	if (table == NULL)
		UnlockRelationOid(oid, AccessShareLock);
	return table;
}

static bool
take_row(TupleTableSlot *slot, WbcTableRow *row)
{
	Datum	   *value;
	bool	   *null;

	slot_getallattrs(slot);
	value = slot->tts_values;
	null = slot->tts_isnull;
	if ((uint64) DatumGetInt64(value[COLUMN_EPOCH]) != wbc_generation_epoch(MyDatabaseId) ||
		!read_stamp(DatumGetArrayTypeP(value[COLUMN_STRIPES]),
					DatumGetArrayTypeP(value[COLUMN_GENERATIONS]),
					&row->stamp))
		return false;

	row->value = DatumGetTextPCopy(value[COLUMN_VALUE]);
	row->etag = null[COLUMN_ETAG] ? NULL : DatumGetTextPCopy(value[COLUMN_ETAG]);
	row->last_modified = null[COLUMN_LAST_MODIFIED] ? NULL :
		DatumGetTextPCopy(value[COLUMN_LAST_MODIFIED]);
	row->cached_at = DatumGetTimestampTz(value[COLUMN_CACHED_AT]);
	row->soft_expires_at = DatumGetTimestampTz(value[COLUMN_SOFT_EXPIRES_AT]);
	row->hard_expires_at = DatumGetTimestampTz(value[COLUMN_HARD_EXPIRES_AT]);
	row->fetch_started = DatumGetTimestampTz(value[COLUMN_FETCH_STARTED]);
	row->fetch_us = (int64) (DatumGetFloat8(value[COLUMN_FETCH_MS]) * 1000);
	row->source = (uint64) DatumGetInt64(value[COLUMN_SOURCE]);
	return true;
}

/* Versions of one row that are looked at in the order of their place. */
#define VERSIONS_MAX	64

static int
later_first(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) b, (ItemPointer) a);
}

/*
 * The next places of a key's versions that the index knows; how many.
 */
static int
read_places(IndexScanDesc iscan, ItemPointerData *places)
{
	ItemPointer place;
	int			n = 0;

	while (n < VERSIONS_MAX &&
		   (place = index_getnext_tid(iscan, ForwardScanDirection)) != NULL)
		places[n++] = *place;
	qsort(places, n, sizeof(ItemPointerData), later_first);
	return n;
}

/*
 * Takes the version that the snapshot sees.  While somebody's old snapshot keeps
 * all versions of a row, that is nearly always the one with the last place, since
 * the table grows at its end then; so only the index is read for the others.
 * That a place may be used again meanwhile does no harm: what is there then, the
 * snapshot doesn't see.
 */
static bool
fetch_newest(IndexScanDesc iscan, Snapshot snapshot, TupleTableSlot *slot)
{
	ItemPointerData places[VERSIONS_MAX];
	int			n;

	do
	{
		n = read_places(iscan, places);
		for (int i = 0; i < n; i++)
		{
			bool		call_again = false;

			if (table_index_fetch_tuple(iscan->xs_heapfetch, &places[i],
										snapshot, slot, &call_again, NULL))
				return true;
		}
	} while (n == VERSIONS_MAX);	/* an index scan that has ended would begin
									 * anew */
	return false;
}

static bool
scan(Relation table, Relation index, const WbcKey *key, WbcTableRow *row)
{
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(table)));
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData keys[3];
	IndexScanDesc iscan;
	bool		found;

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ,
						   PointerGetDatum(cstring_to_text_with_len(key->data, key->len)));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(key->scope));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(key->loader));
	iscan = wbc_compat_index_beginscan(table, index, snapshot, lengthof(keys));
	index_rescan(iscan, keys, lengthof(keys), NULL, 0);
	found = fetch_newest(iscan, snapshot, slot) && take_row(slot, row);

	index_endscan(iscan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Finds the row of a key.  Returns false, too, when the row belongs to another
 * life of the stripes, and when the table can't be read now.
 */
bool
wbc_table_find(const WbcKey *key, WbcTableRow *row)
{
	Relation	table;
	Relation	index;
	Oid			primary;
	bool		found = false;

	if (RecoveryInProgress() || (table = open_at_once()) == NULL)
		return false;

	primary = wbc_compat_primary_key(table);
	if (OidIsValid(primary) &&
		ConditionalLockRelationOid(primary, AccessShareLock))
	{
		index = index_open(primary, NoLock);
		found = scan(table, index, key, row);
		index_close(index, AccessShareLock);
	}
	relation_close(table, AccessShareLock);
	return found;
}

/*
 * What an entry is built from, out of a row.  Points into the row.
 */
void
wbc_table_parts(const WbcKey *key, const WbcTableRow *row, WbcEntryParts *parts)
{
	memset(parts, 0, sizeof(WbcEntryParts));
	parts->key = key;
	parts->stamp = &row->stamp;
	parts->kind = WBC_ENTRY_VALUE;
	parts->value = VARDATA_ANY(row->value);
	parts->value_len = VARSIZE_ANY_EXHDR(row->value);
	if (row->etag != NULL)
	{
		parts->etag = VARDATA_ANY(row->etag);
		parts->etag_len = Min(VARSIZE_ANY_EXHDR(row->etag), WBC_VALIDATOR_MAX);
	}
	if (row->last_modified != NULL)
	{
		parts->last_modified = VARDATA_ANY(row->last_modified);
		parts->modified_len = Min(VARSIZE_ANY_EXHDR(row->last_modified),
								  WBC_VALIDATOR_MAX);
	}
	parts->cached_at = row->cached_at;
	parts->soft_expires_at = row->soft_expires_at;
	parts->hard_expires_at = row->hard_expires_at;
	parts->fetch_started = row->fetch_started;
	parts->fetch_us = row->fetch_us;
	parts->source = row->source;
}

/* ----------------------------------------------------------------
 * Writing.  In a loader's transaction, connected to SPI, after
 * wbc_table_lock().
 * ----------------------------------------------------------------
 */

static SPIPlanPtr
prepared(const char *statement, int n, const Oid *types, SPIPlanPtr *kept)
{
	if (*kept == NULL)
	{
		*kept = SPI_prepare(statement, n, unconstify(Oid *, types));
		if (*kept == NULL || SPI_keepplan(*kept) != 0)
			elog(ERROR, "could not prepare a statement for wbcache.entry");
	}
	return *kept;
}

static Datum
text_datum(const char *bytes, int len)
{
	return PointerGetDatum(cstring_to_text_with_len(bytes, len));
}

static Datum
tags_datum(const WbcTableNote *note)
{
	Datum	   *tags = palloc(Max(note->ntags, 1) * sizeof(Datum));

	for (int i = 0; i < note->ntags; i++)
		tags[i] = CStringGetTextDatum(note->tags[i]);
	return PointerGetDatum(construct_array(tags, note->ntags, TEXTOID, -1,
										   false, TYPALIGN_INT));
}

static void
fill_generations(const WbcEntry *entry, Datum *values)
{
	Datum		stripes[WBC_STAMP_MAX];
	Datum		seen[WBC_STAMP_MAX];

	for (int i = 0; i < entry->nstripes; i++)
	{
		stripes[i] = Int32GetDatum((int32) wbc_entry_stripes(entry)[i]);
		seen[i] = Int64GetDatum((int64) entry->seen[i]);
	}
	values[COLUMN_EPOCH] = Int64GetDatum((int64) wbc_generation_epoch(MyDatabaseId));
	values[COLUMN_STRIPES] =
		PointerGetDatum(construct_array(stripes, entry->nstripes, INT4OID, 4,
										true, TYPALIGN_INT));
	values[COLUMN_GENERATIONS] =
		PointerGetDatum(construct_array(seen, entry->nstripes, INT8OID, 8,
										FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
fill_row(const WbcEntry *entry, const WbcTableNote *note, Datum *values,
		 char *nulls)
{
	memset(nulls, ' ', COLUMNS);
	values[COLUMN_KEY] = text_datum(wbc_entry_key(entry), entry->key_len);
	values[COLUMN_ROLE] = ObjectIdGetDatum(entry->scope);
	values[COLUMN_LOADER] = ObjectIdGetDatum(entry->loader);
	if (note->endpoint != NULL)
		values[COLUMN_ENDPOINT] =
			DirectFunctionCall1(namein, CStringGetDatum(note->endpoint));
	else
		nulls[COLUMN_ENDPOINT] = 'n';
	values[COLUMN_VALUE] = text_datum(wbc_entry_value(entry), entry->value_len);
	values[COLUMN_TAGS] = tags_datum(note);
	values[COLUMN_ETAG] = text_datum(wbc_entry_etag(entry), entry->etag_len);
	if (entry->etag_len == 0)
		nulls[COLUMN_ETAG] = 'n';
	values[COLUMN_LAST_MODIFIED] = text_datum(wbc_entry_last_modified(entry),
											  entry->modified_len);
	if (entry->modified_len == 0)
		nulls[COLUMN_LAST_MODIFIED] = 'n';
	values[COLUMN_CACHED_AT] = TimestampTzGetDatum(entry->cached_at);
	values[COLUMN_SOFT_EXPIRES_AT] = TimestampTzGetDatum(entry->soft_expires_at);
	values[COLUMN_HARD_EXPIRES_AT] =
		TimestampTzGetDatum(wbc_entry_hard_expires_at(entry));
	values[COLUMN_FETCH_STARTED] = TimestampTzGetDatum(entry->fetch_started);
	values[COLUMN_FETCH_MS] = Float8GetDatum(entry->fetch_us / 1000.0);
	values[COLUMN_SOURCE] = Int64GetDatum((int64) entry->source);
	fill_generations(entry, values);
}

/*
 * Locks the table for writing, until the end of the transaction.  Returns false
 * when that would mean to wait: who waits for a lock is himself in the way of
 * others who want one.
 */
bool
wbc_table_lock(void)
{
	Oid			oid = wbc_statement_table("entry");

	return OidIsValid(oid) &&
		ConditionalLockRelationOid(oid, RowExclusiveLock) &&
		oid == wbc_statement_table("entry");	/* it may have been dropped before */
}

static uint64
execute(const char *statement, Datum *values, const char *nulls,
		SPIPlanPtr *plan)
{
	if (SPI_execute_plan(prepared(statement, COLUMNS, column_types, plan),
						 values, nulls, false, 0) < 0)
		elog(ERROR, "could not write into wbcache.entry");
	SPI_freetuptable(SPI_tuptable);
	return SPI_processed;
}

/*
 * Writes a pinned entry, unless the table has a later one.  Returns false when
 * somebody has locked the row.  Throws.
 */
bool
wbc_table_write(const WbcEntry *entry, const WbcTableNote *note)
{
	static SPIPlanPtr insert = NULL;
	static SPIPlanPtr update = NULL;
	Datum		values[COLUMNS];
	char		nulls[COLUMNS];

	fill_row(entry, note, values, nulls);
	if (execute(INSERT, values, nulls, &insert) > 0)
		return true;
	if (entry->value_len > TOAST_TUPLE_THRESHOLD)
		toast_left++;
	return execute(UPDATE, values, nulls, &update) > 0;
}

/*
 * Is it time for a vacuum of our own?  What an update of a short row leaves is
 * found by the next one in the same page; what was in the TOAST is not, and in
 * a minute between two looks of autovacuum there can be more of it than there
 * are rows.
 */
bool
wbc_table_wants_vacuum(void)
{
	return toast_left >= VACUUM_LEAST && toast_left >= toast_limit;
}

/*
 * A twentieth of the rows there were at the last vacuum, since each loader
 * counts for itself.  Needs a transaction.
 */
static void
find_toast_limit(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));

	if (!HeapTupleIsValid(tuple))
		return;
	toast_limit = Max(((Form_pg_class) GETSTRUCT(tuple))->reltuples, 0) / 20;
	ReleaseSysCache(tuple);
}

/*
 * Vacuums the table, unless somebody has a lock that is in the way: somebody
 * else's vacuum, mostly.  Needs a transaction, and leaves one; the current
 * context must survive it.  May take its time; throws.
 */
void
wbc_table_vacuum(void)
{
	Oid			table = wbc_statement_table("entry");

	toast_left = 0;
	if (!OidIsValid(table) ||
		!ConditionalLockRelationOid(table, ShareUpdateExclusiveLock))
		return;
	UnlockRelationOid(table, ShareUpdateExclusiveLock);
	wbc_statement_run("VACUUM (SKIP_LOCKED, TRUNCATE FALSE) wbcache.entry",
					  None_Receiver);
	find_toast_limit(table);
}

/*
 * Deletes rows that are of no use any more, up to so many, none that somebody
 * has locked.  Returns how many.  Throws.
 */
uint64
wbc_table_purge(int most)
{
	static const Oid types[1] = {INT4OID};
	static SPIPlanPtr plan = NULL;
	Datum		values[1] = {Int32GetDatum(most)};

	if (SPI_execute_plan(prepared(PURGE, 1, types, &plan),
						 values, NULL, false, 0) < 0)
		elog(ERROR, "could not purge wbcache.entry");
	return SPI_processed;
}
