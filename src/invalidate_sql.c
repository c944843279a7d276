/*-------------------------------------------------------------------------
 *
 * invalidate_sql.c
 *	  SQL functions that invalidate.
 *
 * Layer 4.  They only list what is to be done; it is done when the
 * transaction commits.  The one exception is register_cache_key(), which takes
 * effect at once: see registry.c for why.
 *
 * A NULL for what is to be invalidated does nothing.  A NULL reason is no reason
 * to do nothing: it stands for the default.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "endpoint.h"
#include "fmgr.h"
#include "glob.h"
#include "guc.h"
#include "invalidate.h"
#include "journal.h"
#include "key.h"
#include "miscadmin.h"
#include "odds.h"
#include "pending.h"
#include "registry.h"
#include "shmem.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* How long a registration lives after it was last made. */
#define REGISTRATION_TIME	(24 * USECS_PER_HOUR)

PG_FUNCTION_INFO_V1(wbcache_invalidate);
PG_FUNCTION_INFO_V1(wbcache_invalidate_own);
PG_FUNCTION_INFO_V1(wbcache_invalidate_tag);
PG_FUNCTION_INFO_V1(wbcache_invalidate_pattern);
PG_FUNCTION_INFO_V1(wbcache_invalidate_game_cache);
PG_FUNCTION_INFO_V1(wbcache_invalidate_sidebar_cache);
PG_FUNCTION_INFO_V1(wbcache_invalidate_on_status_change);
PG_FUNCTION_INFO_V1(wbcache_invalidate_on_odds_movement);
PG_FUNCTION_INFO_V1(wbcache_register_cache_key);

/* ----------------------------------------------------------------
 * Arguments
 * ----------------------------------------------------------------
 */

static WbcReason
reason_of_label(const char *label)
{
	for (WbcReason reason = 0; reason < WBC_REASONS; reason++)
		if (strcmp(label, wbc_journal_reason_name(reason)) == 0)
			return reason;
	return WBC_REASON_MANUAL;	/* a label that somebody has added */
}

/*
 * An argument of type wbcache.invalidation_reason.
 */
static WbcReason
reason_argument(FunctionCallInfo fcinfo, int n, WbcReason otherwise)
{
	HeapTuple	tuple;
	WbcReason	reason;

	if (PG_ARGISNULL(n))
		return otherwise;
	tuple = SearchSysCache1(ENUMOID, PG_GETARG_DATUM(n));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "invalid internal value for enum: %u", PG_GETARG_OID(n));
	reason = reason_of_label(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	ReleaseSysCache(tuple);
	return reason;
}

/* NULL for NULL. */
static char *
string_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * The game, which is the first argument everywhere and not NULL.
 */
static text *
game_argument(FunctionCallInfo fcinfo)
{
	text	   *game_id = PG_GETARG_TEXT_PP(0);

	if (VARSIZE_ANY_EXHDR(game_id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("game id is empty"),
				 errhint("Give the id by which keys and tags know the game.")));
	return game_id;
}

/* ----------------------------------------------------------------
 * Keys, tags, patterns
 * ----------------------------------------------------------------
 */

Datum
wbcache_invalidate(PG_FUNCTION_ARGS)
{
	WbcRoute	route;
	WbcKey		key;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	wbc_endpoint_route_to_write(PG_GETARG_TEXT_PP(0), &key, &route);
	wbc_invalidate_key_for(key.data, key.len,
						   reason_argument(fcinfo, 1, WBC_REASON_MANUAL));
	PG_RETURN_VOID();
}

/*
 * What get_with_swr() keeps for the current role.
 */
Datum
wbcache_invalidate_own(PG_FUNCTION_ARGS)
{
	WbcNote		note = {.target = WBC_TARGET_OWN_KEY};
	WbcKey		key;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	wbc_key_from_text(&key, PG_GETARG_TEXT_PP(0));
	note.reason = reason_argument(fcinfo, 1, WBC_REASON_MANUAL);
	note.what = key.data;
	note.len = key.len;
	wbc_pending_invalidate(wbc_generation_stripe_of_private(&key, GetUserId()),
						   &note);
	PG_RETURN_VOID();
}

/*
 * An endpoint's name is a tag of all its keys.
 */
Datum
wbcache_invalidate_tag(PG_FUNCTION_ARGS)
{
	WbcReason	reason;
	text	   *tag;
	char	   *name;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	wbc_endpoint_prepare();
	tag = PG_GETARG_TEXT_PP(0);
	reason = reason_argument(fcinfo, 1, WBC_REASON_MANUAL);
	wbc_key_check_tag(tag);
	name = text_to_cstring(tag);
	wbc_invalidate_tag_for(name, strlen(name), reason);
	if (wbc_endpoint_exists(name, strlen(name)))
		wbc_pending_invalidate(wbc_generation_stripe_of_endpoint(MyDatabaseId, name),
							   NULL);
	PG_RETURN_VOID();
}

static void
check_glob(const char *glob, int len)
{
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pattern is empty"),
				 errhint("Give a pattern such as 'sidebar:nfl:*'.")));
	if (len > WBC_GLOB_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pattern is too long"),
				 errdetail("It has %d bytes; the limit is %d.",
						   len, WBC_GLOB_MAX),
				 errhint("Put * in place of a part of it.")));
	if (!wbc_glob_is_complete(glob, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_ESCAPE_SEQUENCE),
				 errmsg("pattern ends with a backslash that escapes nothing"),
				 errhint("Write two backslashes for one.")));
}

Datum
wbcache_invalidate_pattern(PG_FUNCTION_ARGS)
{
	text	   *glob;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	glob = PG_GETARG_TEXT_PP(0);
	check_glob(VARDATA_ANY(glob), VARSIZE_ANY_EXHDR(glob));
	wbc_pending_invalidate_matching(VARDATA_ANY(glob), VARSIZE_ANY_EXHDR(glob),
									reason_argument(fcinfo, 1, WBC_REASON_MANUAL));
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * Games and sidebars
 * ----------------------------------------------------------------
 */

Datum
wbcache_invalidate_game_cache(PG_FUNCTION_ARGS)
{
	text	   *game_id;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	game_id = game_argument(fcinfo);
	wbc_invalidate_game(VARDATA_ANY(game_id), VARSIZE_ANY_EXHDR(game_id),
						reason_argument(fcinfo, 1, WBC_REASON_MANUAL));
	PG_RETURN_VOID();
}

Datum
wbcache_invalidate_sidebar_cache(PG_FUNCTION_ARGS)
{
	wbc_shmem_require();
	wbc_invalidate_sidebar(string_argument(fcinfo, 0),
						   string_argument(fcinfo, 1),
						   reason_argument(fcinfo, 2, WBC_REASON_SIDEBAR_REFRESH));
	PG_RETURN_VOID();
}

/*
 * Returns whether anything is invalidated.
 */
Datum
wbcache_invalidate_on_status_change(PG_FUNCTION_ARGS)
{
	text	   *game_id;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	game_id = game_argument(fcinfo);
	PG_RETURN_BOOL(wbc_invalidate_status_change(VARDATA_ANY(game_id),
												VARSIZE_ANY_EXHDR(game_id),
												string_argument(fcinfo, 1),
												string_argument(fcinfo, 2)));
}

static double
threshold_argument(FunctionCallInfo fcinfo, int n)
{
	double		threshold = PG_ARGISNULL(n) ? wbc_guc_odds_threshold :
		PG_GETARG_FLOAT8(n);

	if (!(threshold >= 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("threshold is not a percentage"),
				 errdetail("It is %g.", threshold),
				 errhint("Give a number from 0 up; 10 stands for 10 %%.")));
	return threshold;
}

static WbcOddsMeasure
measure_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name = string_argument(fcinfo, n);
	WbcOddsMeasure measure = WBC_ODDS_PRICE;

	if (name != NULL && !wbc_odds_measure_of(name, &measure))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("odds cannot be compared by \"%s\"", name),
				 errhint("Valid values are \"price\" and \"probability\".")));
	return measure;
}

/*
 * Returns whether anything is invalidated.
 */
Datum
wbcache_invalidate_on_odds_movement(PG_FUNCTION_ARGS)
{
	double		threshold = threshold_argument(fcinfo, 3);
	WbcOddsMeasure measure = measure_argument(fcinfo, 4);
	double		old = PG_ARGISNULL(1) ? 0 : PG_GETARG_FLOAT8(1);
	double		new = PG_ARGISNULL(2) ? 0 : PG_GETARG_FLOAT8(2);
	text	   *game_id;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wbc_shmem_require();
	game_id = game_argument(fcinfo);
	if (!wbc_odds_have_moved(PG_ARGISNULL(1) ? NULL : &old,
							 PG_ARGISNULL(2) ? NULL : &new,
							 threshold, measure))
		PG_RETURN_BOOL(false);
	wbc_invalidate_game(VARDATA_ANY(game_id), VARSIZE_ANY_EXHDR(game_id),
						WBC_REASON_ODDS_MOVEMENT);
	PG_RETURN_BOOL(true);
}

/* ----------------------------------------------------------------
 * The registry
 * ----------------------------------------------------------------
 */

static uint32
stripe_of_game(const text *game_id)
{
	char	   *tag = psprintf("game:%s", text_to_cstring(game_id));

	return wbc_generation_stripe_of_tag(MyDatabaseId, tag, strlen(tag));
}

/*
 * register_cache_key(game_id, key)
 */
Datum
wbcache_register_cache_key(PG_FUNCTION_ARGS)
{
	text	   *game_id;
	TimestampTz now = GetCurrentTimestamp();
	WbcRoute	route;
	WbcKey		key;

	wbc_shmem_require();
	game_id = game_argument(fcinfo);
	wbc_endpoint_route_to_write(PG_GETARG_TEXT_PP(1), &key, &route);
	switch (wbc_registry_add(&key, stripe_of_game(game_id),
							 now + REGISTRATION_TIME, now))
	{
		case WBC_REGISTERED:
		case WBC_REGISTERED_BEFORE:
			break;
		case WBC_REGISTRY_FULL:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many keys are registered for games"),
					 errdetail("There is room for %d registrations, over all databases.",
							   WBC_REGISTRATIONS_MAX),
					 errhint("Give the endpoint a tag such as 'game:{game_id}' instead.")));
			break;
		case WBC_REGISTERED_TOO_OFTEN:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("key is registered for too many games"),
					 errdetail("The limit is %d games for one key.",
							   WBC_GAMES_MAX),
					 errhint("Give the key's endpoint a tag that you invalidate for all of them.")));
			break;
	}
	PG_RETURN_VOID();
}
