/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  Triggers on the user's own tables that invalidate.
 *
 * Layer 4.  They are made by bind.c; watched.c tells their columns.
 *
 * A row of events that comes, goes or changes invalidates its game and the
 * sidebars that show it: those of the row as it was, and as it is.  A row of
 * odds invalidates its game; when its price changes, only if the odds have
 * moved far enough.  What is refreshed ahead of a game ends with the commit that
 * says it is over.  Where rows come or go without a trigger, everything is
 * invalidated: by TRUNCATE, and when a table or partition is bound, unbound,
 * attached, detached or dropped, all of which makes or drops triggers.
 *
 * The host comes first: where the library is not preloaded there is no cache
 * to invalidate, and the change goes through.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "ahead.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "guc.h"
#include "invalidate.h"
#include "pending.h"
#include "shmem.h"
#include "status.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "watch.h"
#include "watched.h"

PG_FUNCTION_INFO_V1(wbcache_differ);
PG_FUNCTION_INFO_V1(wbcache_events_changed);
PG_FUNCTION_INFO_V1(wbcache_odds_changed);

/* ----------------------------------------------------------------
 * What both kinds of tables have in common
 * ----------------------------------------------------------------
 */

static void
invalidate_game(const char *id, WbcReason reason)
{
	if (id != NULL)
		wbc_invalidate_game(id, strlen(id), reason);
}

/*
 * Throws unless the function was called as a trigger such as bind.c makes.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		TRIGGER_FIRED_FOR_ROW(data->tg_event) ==
		TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function wbcache.%s can only be called by the triggers that wbcache makes",
						function),
				 errhint("Call wbcache.bind_events() or wbcache.watch_odds().")));
	return data;
}

/* How the arguments of one call of differ() in a statement are passed. */
typedef struct Pair
{
	int16		len;
	bool		by_value;
} Pair;

/* Kept for the calls of one statement. */
static const Pair *
pairs_of(FunctionCallInfo fcinfo)
{
	FmgrInfo   *call = fcinfo->flinfo;
	int			n = PG_NARGS() / 2;
	Pair	   *pairs;

	if (likely(call->fn_extra != NULL))
		return call->fn_extra;

	if (PG_NARGS() % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wbcache.differ needs an even number of arguments"),
				 errhint("Give pairs of an old and a new value.")));
	pairs = MemoryContextAlloc(call->fn_mcxt, n * sizeof(Pair));
	for (int i = 0; i < n; i++)
	{
		Oid			type = get_fn_expr_argtype(call, 2 * i);

		if (!OidIsValid(type) || type != get_fn_expr_argtype(call, 2 * i + 1))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("arguments %d and %d of wbcache.differ are not of one type",
							2 * i + 1, 2 * i + 2),
					 errhint("Cast one to the type of the other.")));
		get_typlenbyval(type, &pairs[i].len, &pairs[i].by_value);
	}
	call->fn_extra = pairs;
	return pairs;
}

/* Values as they are stored are mostly alike to the byte, TOAST pointers too. */
static inline bool
is_same(Datum a, Datum b, const Pair *pair)
{
	if (pair->len == -1)
	{
		Size		size = VARSIZE_ANY(DatumGetPointer(a));

		if (VARSIZE_ANY(DatumGetPointer(b)) == size &&
			memcmp(DatumGetPointer(a), DatumGetPointer(b), size) == 0)
			return true;
	}
	return datum_image_eq(a, b, pair->by_value, pair->len);
}

/*
 * differ(old, new, old, new, ...): is a pair not the same to the last bit?  So
 * no change is missed that an equality of the type hides, as that of letters'
 * case.
 */
Datum
wbcache_differ(PG_FUNCTION_ARGS)
{
	const Pair *pairs = pairs_of(fcinfo);

	for (int i = 0; i < PG_NARGS(); i += 2)
	{
		if (PG_ARGISNULL(i) != PG_ARGISNULL(i + 1))
			PG_RETURN_BOOL(true);
		if (!PG_ARGISNULL(i) &&
			!is_same(PG_GETARG_DATUM(i), PG_GETARG_DATUM(i + 1),
					 &pairs[i / 2]))
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}

/* The row before the change, or NULL. */
static TupleTableSlot *
old_row(const TriggerData *data)
{
	return TRIGGER_FIRED_BY_INSERT(data->tg_event) ? NULL : data->tg_trigslot;
}

/* The row after the change, or NULL. */
static TupleTableSlot *
new_row(const TriggerData *data)
{
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return data->tg_newslot;
	return TRIGGER_FIRED_BY_INSERT(data->tg_event) ? data->tg_trigslot : NULL;
}

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* ----------------------------------------------------------------
 * Events
 * ----------------------------------------------------------------
 */

/* What of a row says where it is shown. */
typedef struct Event
{
	const char *game;
	const char *sport;
	const char *league;
	const char *status;			/* NULL, too, where there is no row */
} Event;

static void
read_event(const WbcWatched *watched, TupleTableSlot *slot, Event *event)
{
	event->game = wbc_watched_text(&watched->column[WBC_EVENT_GAME_ID], slot);
	event->sport = wbc_watched_text(&watched->column[WBC_EVENT_SPORT_ID], slot);
	event->league = wbc_watched_text(&watched->column[WBC_EVENT_LEAGUE_ID], slot);
	event->status = wbc_watched_text(&watched->column[WBC_EVENT_STATUS], slot);
}

/*
 * Lists a game whose row had one status and has another; NULL: there is no
 * such row, or no status.
 */
static void
invalidate_event(const char *game, const char *old, const char *new)
{
	if (game != NULL &&
		!wbc_invalidate_status_change(game, strlen(game), old, new))
		wbc_invalidate_game(game, strlen(game), WBC_REASON_STATUS_CHANGE);
}

static void
event_updated(const Event *old, const Event *new)
{
	if (same(old->game, new->game))
		invalidate_event(new->game, old->status, new->status);
	else
	{
		invalidate_event(old->game, old->status, NULL);
		invalidate_event(new->game, NULL, new->status);
	}
	wbc_invalidate_sidebar(new->sport, new->league, WBC_REASON_STATUS_CHANGE);
	if (!same(old->sport, new->sport) || !same(old->league, new->league))
		wbc_invalidate_sidebar(old->sport, old->league,
							   WBC_REASON_STATUS_CHANGE);
}

/*
 * Tells the warmer, if there was a game; it is over for it, too, when it is gone.
 */
static void
tell_warmer(const Event *old, const Event *new)
{
	if (old->game != NULL)
		wbc_pending_change_game(wbc_ahead_group(old->game, strlen(old->game)),
								!same(old->game, new->game) ||
								(new->status != NULL &&
								 wbc_status_is_off(new->status,
												   strlen(new->status))));
}

static void
event_changed(const WbcWatched *watched, const TriggerData *data)
{
	Event		old = {0};
	Event		new = {0};
	const Event *one = &new;

	wbc_invalidate_source();
	if (old_row(data) != NULL)
		read_event(watched, old_row(data), &old);
	if (new_row(data) != NULL)
		read_event(watched, new_row(data), &new);
	tell_warmer(&old, &new);
	if (old_row(data) != NULL && new_row(data) != NULL)
	{
		event_updated(&old, &new);
		return;
	}
	if (new_row(data) == NULL)
		one = &old;
	invalidate_event(one->game, old.status, new.status);
	wbc_invalidate_sidebar(one->sport, one->league, WBC_REASON_STATUS_CHANGE);
}

/*
 * AFTER INSERT OR UPDATE OR DELETE, each row, and AFTER TRUNCATE, on a table of
 * events.
 */
Datum
wbcache_events_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "events_changed");
	const WbcWatched *watched;

	if (!wbc_shmem_is_ready())
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) ||
		!(watched = wbc_watched_events(data))->known)
		wbc_invalidate_everything(WBC_REASON_STATUS_CHANGE);
	else
		event_changed(watched, data);
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------
 * Odds
 * ----------------------------------------------------------------
 */

/* Has the row's price moved far enough? */
static bool
odds_have_moved(const WbcWatched *watched, const TriggerData *data)
{
	const WbcWatchedColumn *column = &watched->column[WBC_ODDS_VALUE];
	double		old;
	double		new;
	bool		had = wbc_watched_number(column, old_row(data), &old);
	bool		has = wbc_watched_number(column, new_row(data), &new);

	return wbc_odds_have_moved(had ? &old : NULL, has ? &new : NULL,
							   watched->threshold < 0 ?
							   wbc_guc_odds_threshold : watched->threshold,
							   watched->measure);
}

static void
odds_updated(const WbcWatched *watched, const TriggerData *data)
{
	const WbcWatchedColumn *column = &watched->column[WBC_ODDS_GAME_ID];
	const char *old = wbc_watched_text(column, old_row(data));
	const char *new = wbc_watched_text(column, new_row(data));

	if (same(old, new) && !odds_have_moved(watched, data))
		return;
	invalidate_game(new, WBC_REASON_ODDS_MOVEMENT);
	if (!same(old, new))
		invalidate_game(old, WBC_REASON_ODDS_MOVEMENT);
}

/*
 * AFTER INSERT OR UPDATE OR DELETE, each row, and AFTER TRUNCATE, on a table of
 * odds.
 */
Datum
wbcache_odds_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "odds_changed");
	const WbcWatched *watched;

	if (!wbc_shmem_is_ready())
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) ||
		!(watched = wbc_watched_odds(data))->known)
		wbc_invalidate_everything(WBC_REASON_ODDS_MOVEMENT);
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		odds_updated(watched, data);
	else
		invalidate_game(wbc_watched_text(&watched->column[WBC_ODDS_GAME_ID],
										 data->tg_trigslot),
						WBC_REASON_ODDS_MOVEMENT);
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------
 * Rows that come or go without a trigger
 * ----------------------------------------------------------------
 */

/* Is this one of the two functions above? */
static bool
is_ours(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		ours = false;
	char	   *schema;

	if (!HeapTupleIsValid(tuple))
		return false;
	schema = get_namespace_name(((Form_pg_proc) GETSTRUCT(tuple))->pronamespace);
	if (schema != NULL && strcmp(schema, "wbcache") == 0)
	{
		const char *name = NameStr(((Form_pg_proc) GETSTRUCT(tuple))->proname);

		ours = strcmp(name, "events_changed") == 0 ||
			strcmp(name, "odds_changed") == 0;
	}
	ReleaseSysCache(tuple);
	return ours;
}

/*
 * Is one of the triggers that an index of pg_trigger finds by this OID ours?
 * Sees those that the running command has made.
 */
static bool
finds_ours(Oid index, AttrNumber column, Oid oid)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(triggers, index, true, SnapshotSelf, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = is_ours(((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid);
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

/*
 * A table is about to be truncated.  A partition has no trigger of its own for
 * that, but those for rows.
 */
void
wbc_watch_truncated(Oid relation)
{
	if (wbc_shmem_is_ready() &&
		finds_ours(TriggerRelidNameIndexId, Anum_pg_trigger_tgrelid, relation))
		wbc_invalidate_everything(WBC_REASON_STATUS_CHANGE);
}

/*
 * A trigger was made, or is about to be dropped.  If it is ours, rows come or
 * go with it, or with its table or partition, that no trigger will see.
 */
void
wbc_watch_trigger_altered(Oid trigger)
{
	if (wbc_shmem_is_ready() &&
		finds_ours(TriggerOidIndexId, Anum_pg_trigger_oid, trigger))
		wbc_invalidate_everything(WBC_REASON_MANUAL);
}
