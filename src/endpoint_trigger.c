/*-------------------------------------------------------------------------
 *
 * endpoint_trigger.c
 *	  What must hold for the table wbcache.endpoint whoever writes it: the
 *	  functions of endpoint_ddl.c, a restore, or a replication worker.
 *
 * Layer 4.  A row keeps the rules of endpoint_row.c, no two patterns claim a
 * key with equal right, and what a change makes outdated is invalidated when
 * the change commits.
 *
 * Writers take turns: the first thing that the functions and the BEFORE
 * trigger do is to take a lock on the set of endpoints, to the end of the
 * transaction.  It is an object lock, not one of the table's own: whoever
 * reads or dumps the table doesn't wait for it, and writers that hold ROW
 * EXCLUSIVE already don't deadlock over something stronger.  Under it, a scan
 * with SnapshotSelf sees every row there is, those of the running statement
 * included.
 *
 * Without shared memory there is nothing to invalidate: a database can be
 * restored before the library is preloaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "endpoint_row.h"
#include "endpoint_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(wbcache_endpoint_check);
PG_FUNCTION_INFO_V1(wbcache_endpoint_changed);

/* ----------------------------------------------------------------
 * The set of endpoints
 * ----------------------------------------------------------------
 */

/*
 * Makes this transaction the only one that writes endpoints.
 */
void
wbc_endpoint_trigger_lock(Relation table)
{
	LockDatabaseObject(RelationRelationId, RelationGetRelid(table), 0,
					   ExclusiveLock);
}

/* A key that both match, with the parameters' names for their values. */
static char *
example_key(const WbcPattern *a, const WbcPattern *b)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < a->nsegments; i++)
		appendStringInfo(&key, "%s%s", i > 0 ? ":" : "",
						 a->segments[i].is_param ? b->segments[i].text :
						 a->segments[i].text);
	return key.data;
}

static void
refuse_equal_right(const WbcEndpoint *new, const WbcEndpoint *old)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("pattern \"%s\" could claim the same keys as pattern \"%s\" of endpoint \"%s\" with equal right",
					new->pattern.source, old->pattern.source,
					NameStr(old->name)),
			 errdetail("Both match a key such as \"%s\", and neither has more literal segments.",
					   example_key(&new->pattern, &old->pattern)),
			 errhint("Make one of them the more literal one, or let them differ in a segment that is a literal in both.")));
}

/*
 * Throws if another endpoint has an equal right to some key.  An endpoint of
 * the same name isn't another one: it is the row that is replaced, or the
 * primary key will object.  Nor is the row at "replaced", if that is valid.
 */
void
wbc_endpoint_trigger_check_equal_right(Relation table, const WbcEndpoint *new,
									   ItemPointer replaced)
{
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false,
										  SnapshotSelf, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		WbcEndpointRow row;
		WbcEndpoint old;

		if (replaced != NULL && ItemPointerEquals(&tuple->t_self, replaced))
			continue;
		wbc_endpoint_row_deform(table, tuple, &row);
		if (wbc_endpoint_row_try_compile(&row, &old) &&
			strcmp(NameStr(old.name), NameStr(new->name)) != 0 &&
			wbc_pattern_equal_right(&new->pattern, &old.pattern))
			refuse_equal_right(new, &old);
	}
	systable_endscan(scan);
}

/* ----------------------------------------------------------------
 * Triggers
 * ----------------------------------------------------------------
 */

static bool
is_check(TriggerEvent event)
{
	return TRIGGER_FIRED_BEFORE(event) && TRIGGER_FIRED_FOR_ROW(event) &&
		(TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_UPDATE(event));
}

static bool
is_change(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_TRUNCATE(event) ? TRIGGER_FIRED_BEFORE(event) :
		TRIGGER_FIRED_AFTER(event) && TRIGGER_FIRED_FOR_ROW(event);
}

/*
 * Returns the trigger's data.  Throws unless the function was called by a
 * trigger of the table of endpoints, for an event that it handles.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function,
			 bool (*handles) (TriggerEvent event))
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !handles(data->tg_event) ||
		RelationGetRelid(data->tg_relation) != wbc_endpoint_row_table())
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function wbcache.%s can only be called by the triggers of table wbcache.endpoint",
						function),
				 errhint("Leave it to the triggers that come with the extension.")));
	wbc_endpoint_row_check_layout(data->tg_relation);
	return data;
}

/*
 * BEFORE INSERT OR UPDATE, each row: refuses what breaks a rule.
 */
Datum
wbcache_endpoint_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "endpoint_check", is_check);
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	HeapTuple	tuple = update ? data->tg_newtuple : data->tg_trigtuple;
	WbcEndpointRow row;
	WbcEndpoint endpoint;

	wbc_endpoint_row_deform(data->tg_relation, tuple, &row);
	wbc_endpoint_row_compile(&row, &endpoint);
	wbc_endpoint_trigger_lock(data->tg_relation);
	wbc_endpoint_trigger_check_equal_right(data->tg_relation, &endpoint,
									   update ? &data->tg_trigtuple->t_self : NULL);
	return PointerGetDatum(tuple);
}

/* Nobody has to hear of the table's own stripe. */
static void
invalidate_endpoint(const char *name)
{
	WbcNote		note = {WBC_REASON_MANUAL, WBC_TARGET_TAG, strlen(name), name};

	wbc_pending_invalidate(wbc_generation_stripe_of_endpoint(MyDatabaseId, name),
						   name[0] != '\0' ? &note : NULL);
}

/*
 * Invalidates the endpoints from which this one takes keys: what they have
 * cached for these keys is another endpoint's answer now.
 */
static void
invalidate_less_literal(Relation table, const WbcEndpoint *endpoint)
{
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false,
										  SnapshotSelf, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		WbcEndpointRow row;
		WbcEndpoint other;

		wbc_endpoint_row_deform(table, tuple, &row);
		if (wbc_endpoint_row_try_compile(&row, &other) &&
			other.pattern.nliterals < endpoint->pattern.nliterals &&
			wbc_pattern_overlaps(&other.pattern, &endpoint->pattern))
			invalidate_endpoint(NameStr(other.name));
	}
	systable_endscan(scan);
}

static void
renew_endpoint(const char *name)
{
	wbc_pending_renew_endpoint(wbc_generation_stripe_of_endpoint(MyDatabaseId, name));
}

/*
 * The row is one of those that the statement wrote.  predecessor: the version
 * that it replaces, or NULL.
 */
static void
row_appears(Relation table, const WbcEndpointRow *row,
			const WbcEndpointRow *predecessor)
{
	const char *name = wbc_endpoint_row_name(row);
	WbcEndpoint endpoint;

	invalidate_endpoint(name);
	if (predecessor == NULL ||
		strcmp(wbc_endpoint_row_name(predecessor), name) != 0)
		renew_endpoint(name);
	if (wbc_endpoint_row_try_compile(row, &endpoint))
		invalidate_less_literal(table, &endpoint);
}

/*
 * The row, or this version of it, is gone.  Keys that go back to a less
 * literal endpoint are cached under this one's name alone.
 */
static void
row_disappears(const WbcEndpointRow *row, const WbcEndpointRow *successor)
{
	const char *name = wbc_endpoint_row_name(row);

	invalidate_endpoint(name);
	if (successor == NULL ||
		strcmp(wbc_endpoint_row_name(successor), name) != 0)
	{
		renew_endpoint(name);
		wbc_pending_forget_endpoint(name);
	}
}

static void
all_rows_disappear(Relation table)
{
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false,
										  SnapshotSelf, 0, NULL);
	HeapTuple	tuple;

	wbc_pending_invalidate_everything(WBC_REASON_MANUAL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		WbcEndpointRow row;

		wbc_endpoint_row_deform(table, tuple, &row);
		row_disappears(&row, NULL);
	}
	systable_endscan(scan);
}

static void
row_changes(const TriggerData *data)
{
	Relation	table = data->tg_relation;
	WbcEndpointRow row;
	WbcEndpointRow successor;

	wbc_endpoint_row_deform(table, data->tg_trigtuple, &row);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		row_appears(table, &row, NULL);
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		row_disappears(&row, NULL);
	else
	{
		wbc_endpoint_row_deform(table, data->tg_newtuple, &successor);
		row_disappears(&row, &successor);
		row_appears(table, &successor, &row);
	}
}

/*
 * AFTER INSERT OR UPDATE OR DELETE, each row, and BEFORE TRUNCATE: makes
 * other processes read the table anew, and invalidates what the change has
 * made outdated.
 */
Datum
wbcache_endpoint_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "endpoint_changed", is_change);

	CacheInvalidateRelcache(data->tg_relation);
	if (!wbc_shmem_is_ready())
		return PointerGetDatum(NULL);

	invalidate_endpoint(WBC_ENDPOINT_TABLE);
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		all_rows_disappear(data->tg_relation);
	else
		row_changes(data);
	return PointerGetDatum(NULL);
}
