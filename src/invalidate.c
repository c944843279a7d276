/*-------------------------------------------------------------------------
 *
 * invalidate.c
 *	  What is invalidated together: a key, a tag, a game, a sidebar.
 *
 * Layer 4.  Lists what is to be done; pending.c does it when the transaction
 * commits.  Used by triggers, and by the SQL functions below.
 *
 * A game is the tag 'game:' with its id, and some keys that are known to
 * carry the id as a segment.  An id with a colon in it can't be a segment:
 * what looks like such a key belongs to another game, so only the tag counts.
 *
 * A sidebar key is 'sidebar:{sport_id}:{league_id}', with 'all' for what is not
 * given.  Its endpoint carries the tags 'sidebar', 'sidebar:sport:{sport_id}'
 * and 'sidebar:league:{league_id}'.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "endpoint.h"
#include "fmgr.h"
#include "invalidate.h"
#include "key.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "utils/builtins.h"

/* The segment of a sport or league that is not given. */
#define ALL		"all"

PG_FUNCTION_INFO_V1(wbcache_invalidate);
PG_FUNCTION_INFO_V1(wbcache_invalidate_own);
PG_FUNCTION_INFO_V1(wbcache_invalidate_tag);

/* Statuses of the feed, and one of older feeds. */
static const char *const statuses[] = {
	"unplayed", "live", "half", "completed", "cancelled", "suspended",
	"delayed", "forfeited", "invalid", "postponed"
};

/* ----------------------------------------------------------------
 * For C
 * ----------------------------------------------------------------
 */

void
wbc_invalidate_tag_for(const char *tag, int len, WbcReason reason)
{
	wbc_shmem_require();
	if (len > 0)
		wbc_pending_invalidate(wbc_generation_stripe_of_tag(MyDatabaseId, tag,
															len));
}

void
wbc_invalidate_key_for(const char *key, int len, WbcReason reason)
{
	WbcKey		made;

	wbc_shmem_require();
	if (!wbc_key_is_possible(key, len))
		return;
	wbc_key_make(&made, MyDatabaseId, key, len);
	wbc_pending_invalidate(wbc_generation_stripe_of_key(&made));
}

void
wbc_invalidate_everything(WbcReason reason)
{
	wbc_shmem_require();
	wbc_pending_invalidate_everything();
}

/* May it be one segment of a key? */
static bool
is_segment(const char *id, int len)
{
	return len > 0 && memchr(id, ':', len) == NULL;
}

void
wbc_invalidate_game(const char *game_id, int len, WbcReason reason)
{
	StringInfoData name;

	if (len == 0)
		return;
	initStringInfo(&name);
	appendStringInfoString(&name, "game:");
	appendBinaryStringInfo(&name, game_id, len);
	wbc_invalidate_tag_for(name.data, name.len, reason);

	for (int i = 0; i < lengthof(statuses) && is_segment(game_id, len); i++)
	{
		resetStringInfo(&name);
		appendStringInfo(&name, "odds:%s:", statuses[i]);
		appendBinaryStringInfo(&name, game_id, len);
		wbc_invalidate_key_for(name.data, name.len, reason);
	}
	if (is_segment(game_id, len))
	{
		resetStringInfo(&name);
		appendStringInfoString(&name, "props:categories:");
		appendBinaryStringInfo(&name, game_id, len);
		wbc_invalidate_key_for(name.data, name.len, reason);
	}
	pfree(name.data);
}

static void
invalidate_sidebar_key(const char *sport, const char *league, WbcReason reason)
{
	char	   *key;

	if (!is_segment(sport, strlen(sport)) ||
		!is_segment(league, strlen(league)))
		return;
	key = psprintf("sidebar:%s:%s", sport, league);
	wbc_invalidate_key_for(key, strlen(key), reason);
	pfree(key);
}

static void
invalidate_sidebar_tag(const char *prefix, const char *id, WbcReason reason)
{
	char	   *tag = psprintf("%s%s", prefix, id);

	wbc_invalidate_tag_for(tag, strlen(tag), reason);
	pfree(tag);
}

/*
 * Whatever shows the league, the whole sport, or all.  Where only one of the
 * two is known, the other one may be any.
 */
void
wbc_invalidate_sidebar(const char *sport, const char *league, WbcReason reason)
{
	if (sport != NULL && league != NULL)
	{
		invalidate_sidebar_key(sport, league, reason);
		invalidate_sidebar_key(sport, ALL, reason);
		invalidate_sidebar_key(ALL, league, reason);
		invalidate_sidebar_key(ALL, ALL, reason);
	}
	else if (sport != NULL)
	{
		invalidate_sidebar_tag("sidebar:sport:", sport, reason);
		invalidate_sidebar_tag("sidebar:sport:", ALL, reason);
	}
	else if (league != NULL)
	{
		invalidate_sidebar_tag("sidebar:league:", league, reason);
		invalidate_sidebar_tag("sidebar:league:", ALL, reason);
	}
	else
		invalidate_sidebar_tag("sidebar", "", reason);
}

/* ----------------------------------------------------------------
 * For SQL
 * ----------------------------------------------------------------
 */

Datum
wbcache_invalidate(PG_FUNCTION_ARGS)
{
	WbcRoute	route;
	WbcKey		key;

	wbc_shmem_require();
	wbc_endpoint_route_to_write(PG_GETARG_TEXT_PP(0), &key, &route);
	wbc_pending_invalidate(wbc_generation_stripe_of_key(&key));
	PG_RETURN_VOID();
}

/*
 * What get_with_swr() keeps for the current role.
 */
Datum
wbcache_invalidate_own(PG_FUNCTION_ARGS)
{
	WbcKey		key;

	wbc_shmem_require();
	wbc_key_from_text(&key, PG_GETARG_TEXT_PP(0));
	wbc_pending_invalidate(wbc_generation_stripe_of_private(&key, GetUserId()));
	PG_RETURN_VOID();
}

/*
 * An endpoint's name is a tag of all its keys.
 */
Datum
wbcache_invalidate_tag(PG_FUNCTION_ARGS)
{
	text	   *tag = PG_GETARG_TEXT_PP(0);

	wbc_shmem_require();
	wbc_endpoint_prepare();
	wbc_key_check_tag(tag);
	wbc_invalidate_tag_for(VARDATA_ANY(tag), VARSIZE_ANY_EXHDR(tag),
						   WBC_REASON_MANUAL);
	if (wbc_endpoint_exists(VARDATA_ANY(tag), VARSIZE_ANY_EXHDR(tag)))
		wbc_pending_invalidate(wbc_generation_stripe_of_endpoint(MyDatabaseId,
																 text_to_cstring(tag)));
	PG_RETURN_VOID();
}
