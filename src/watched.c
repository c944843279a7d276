/*-------------------------------------------------------------------------
 *
 * watched.c
 *	  Which columns of a user's table mean what.
 *
 * Layer 3.  Three triggers watch a table, all with one function: one for
 * INSERT and DELETE, one for UPDATE, one for TRUNCATE.  That for UPDATE has a
 * condition,
 *
 *		WHEN (wbcache.differ(old.a, new.a, old.b, new.b ...))
 *
 * which does two things.  The core evaluates it before it queues the trigger,
 * so updates that change nothing cost little: one call for all columns, less
 * than half of what IS DISTINCT FROM takes.  And it names the columns, in
 * the order of the trigger's arguments, in the only way that follows a rename,
 * is carried over to partitions with columns in another order, keeps a column
 * from being dropped unless with CASCADE, and is dumped and restored.  So the
 * columns are found by reading the condition.
 *
 * The arguments of all of a table's triggers: for events, what each column is;
 * for odds, the threshold in percent ('' for the setting's) and the measure,
 * the columns being the game's id and the price.
 *
 * What was read is kept for the session, until a relcache message says that
 * the table has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/prs2lock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "watched.h"

const char *const wbc_watched_event_names[WBC_EVENT_COLUMNS] = {
	"game_id", "sport_id", "league_id", "status", "starts_at",
	"sport_name", "league_name", "home", "away"
};

typedef struct Place
{
	Oid			relation;
	Oid			function;
} Place;

typedef struct Kept
{
	Place		place;			/* hash key; must be first */
	bool		valid;
	WbcWatched	watched;
} Kept;

static HTAB *all_kept = NULL;

/* ----------------------------------------------------------------
 * Keeping
 * ----------------------------------------------------------------
 */

static void
relation_changed(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS scan;
	Kept	   *kept;

	hash_seq_init(&scan, all_kept);
	while ((kept = hash_seq_search(&scan)) != NULL)
		if (relation == InvalidOid || kept->place.relation == relation)
			kept->valid = false;
}

static Kept *
find_kept(const TriggerData *data)
{
	Place		place = {
		RelationGetRelid(data->tg_relation), data->tg_trigger->tgfoid
	};
	Kept	   *kept;
	bool		found;

	if (all_kept == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(Place), .entrysize = sizeof(Kept)};

		all_kept = hash_create("wbcache watched tables", 16, &info,
							   HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	}
	kept = hash_search(all_kept, &place, HASH_ENTER, &found);
	if (!found)
		kept->valid = false;
	return kept;
}

/* ----------------------------------------------------------------
 * Reading the triggers
 * ----------------------------------------------------------------
 */

/* The condition of the table's UPDATE trigger that has the same function. */
static const char *
condition_of(const TriggerData *data)
{
	const TriggerDesc *all = data->tg_relation->trigdesc;

	for (int i = 0; i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];

		if (trigger->tgfoid == data->tg_trigger->tgfoid &&
			TRIGGER_FOR_UPDATE(trigger->tgtype) && trigger->tgqual != NULL)
			return trigger->tgqual;
	}
	return NULL;
}

/* Walks a condition for the columns of the old row. */
static bool
collect_old_columns(Node *node, void *list)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		const Var  *var = (const Var *) node;

		if (var->varno == PRS2_OLD_VARNO)
			*(List **) list = lappend_int(*(List **) list, var->varattno);
		return false;
	}
	return expression_tree_walker(node, collect_old_columns, list);
}

static void
fill_column(WbcWatchedColumn *column, Relation relation, AttrNumber number)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation),
												number - 1);
	Oid			output;
	bool		is_varlena;

	column->type = getBaseType(attribute->atttypid);
	getTypeOutputInfo(column->type, &output, &is_varlena);
	fmgr_info_cxt(output, &column->output, CacheMemoryContext);
	column->number = number;
}

/* Which column of events has this name?  Throws when none has. */
static int
event_column(const char *name)
{
	for (int i = 0; i < WBC_EVENT_COLUMNS; i++)
		if (strcmp(wbc_watched_event_names[i], name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("\"%s\" is not a column of events", name),
			 errhint("Call wbcache.bind_events() instead of making its triggers by hand.")));
}

static void
read_events(const TriggerData *data, const List *columns, WbcWatched *watched)
{
	const Trigger *trigger = data->tg_trigger;

	watched->known = list_length(columns) == trigger->tgnargs;
	for (int i = 0; watched->known && i < trigger->tgnargs; i++)
		fill_column(&watched->column[event_column(trigger->tgargs[i])],
					data->tg_relation, list_nth_int(columns, i));
	for (int i = 0; watched->known && i < WBC_EVENT_REQUIRED; i++)
		watched->known = watched->column[i].number != 0;
}

static void
read_odds(const TriggerData *data, const List *columns, WbcWatched *watched)
{
	const Trigger *trigger = data->tg_trigger;

	if (trigger->tgnargs != 2 ||
		!wbc_odds_measure_of(trigger->tgargs[1], &watched->measure))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" has other arguments than a threshold and a measure",
						trigger->tgname),
				 errhint("Call wbcache.watch_odds() instead of making its triggers by hand.")));
	watched->threshold = trigger->tgargs[0][0] == '\0' ? -1 :
		strtod(trigger->tgargs[0], NULL);
	watched->known = list_length(columns) == WBC_ODDS_COLUMNS;
	for (int i = 0; watched->known && i < WBC_ODDS_COLUMNS; i++)
		fill_column(&watched->column[i], data->tg_relation,
					list_nth_int(columns, i));
}

/*
 * The table's columns, as read by "read" at the first call.
 */
static const WbcWatched *
watched_of(const TriggerData *data, const char *binder,
		   void (*read) (const TriggerData *, const List *, WbcWatched *))
{
	Kept	   *kept = find_kept(data);
	const char *condition;
	List	   *columns = NIL;

	if (likely(kept->valid))
		return &kept->watched;

	memset(&kept->watched, 0, sizeof(WbcWatched));
	condition = condition_of(data);
	if (condition != NULL)
		(void) collect_old_columns(stringToNode(condition), &columns);
	read(data, columns, &kept->watched);
	if (!kept->watched.known)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("wbcache does not know the columns of table \"%s\" any more",
						RelationGetRelationName(data->tg_relation)),
				 errdetail("Each change of the table invalidates everything."),
				 errhint("Call wbcache.%s() again.", binder)));
	kept->valid = true;
	return &kept->watched;
}

/*
 * The columns of the table of events that a trigger was called for.  Warns at
 * the first call when they are not known.
 */
const WbcWatched *
wbc_watched_events(const TriggerData *data)
{
	return watched_of(data, "bind_events", read_events);
}

/*
 * The same for a table of odds.
 */
const WbcWatched *
wbc_watched_odds(const TriggerData *data)
{
	return watched_of(data, "watch_odds", read_odds);
}

/* ----------------------------------------------------------------
 * Values
 * ----------------------------------------------------------------
 */

static char *
without_padding(char *value)
{
	int			len = strlen(value);

	while (len > 0 && value[len - 1] == ' ')
		value[--len] = '\0';
	return value;
}

/*
 * A column's value as the view wbcache.events shows it, in the current memory
 * context; NULL for a null, and where the table has no such column.
 */
char *
wbc_watched_text(const WbcWatchedColumn *column, TupleTableSlot *slot)
{
	Datum		value;
	bool		isnull;

	if (column->number == 0)
		return NULL;
	value = slot_getattr(slot, column->number, &isnull);
	if (isnull)
		return NULL;
	if (column->type == TEXTOID || column->type == VARCHAROID)
		return TextDatumGetCString(value);
	if (column->type == BPCHAROID)
		return without_padding(TextDatumGetCString(value));
	return OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);
}

/*
 * A price.  Returns false for a null.
 */
bool
wbc_watched_number(const WbcWatchedColumn *column, TupleTableSlot *slot,
				   double *number)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column->number, &isnull);

	if (isnull)
		return false;
	switch (column->type)
	{
		case INT2OID:
			*number = DatumGetInt16(value);
			break;
		case INT4OID:
			*number = DatumGetInt32(value);
			break;
		case INT8OID:
			*number = DatumGetInt64(value);
			break;
		case FLOAT4OID:
			*number = DatumGetFloat4(value);
			break;
		case FLOAT8OID:
			*number = DatumGetFloat8(value);
			break;
		case NUMERICOID:
			*number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
														 value));
			break;
		default:
			elog(ERROR, "unexpected type %u of a price", column->type);
	}
	return true;
}
