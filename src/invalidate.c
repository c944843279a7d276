/*-------------------------------------------------------------------------
 *
 * invalidate.c
 *	  What is invalidated together: a key, a tag, a game, a sidebar.
 *
 * Layer 4.  Lists what is to be done; it is done when the transaction commits.
 * Used by triggers, and by the SQL functions in invalidate_sql.c.
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

#include "generation.h"
#include "invalidate.h"
#include "key.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "status.h"

/* The segment of a sport or league that is not given. */
#define ALL		"all"

/* A tag that no key carries, for all that sidebars are made of. */
#define SOURCE	"sidebar_source"

/* Statuses of the feed, and one of older feeds. */
static const char *const statuses[] = {
	"unplayed", "live", "half", "completed", "cancelled", "suspended",
	"delayed", "forfeited", "invalid", "postponed"
};

void
wbc_invalidate_tag_for(const char *tag, int len, WbcReason reason)
{
	WbcNote		note = {reason, WBC_TARGET_TAG, len, tag};

	wbc_shmem_require();
	if (len > 0)
		wbc_pending_invalidate(wbc_generation_stripe_of_tag(MyDatabaseId, tag,
															len), &note);
}

void
wbc_invalidate_key_for(const char *key, int len, WbcReason reason)
{
	WbcNote		note = {reason, WBC_TARGET_KEY, len, key};
	WbcKey		made;

	wbc_shmem_require();
	if (!wbc_key_is_possible(key, len))
		return;
	wbc_key_make(&made, MyDatabaseId, key, len);
	wbc_pending_invalidate(wbc_generation_stripe_of_key(&made), &note);
}

void
wbc_invalidate_everything(WbcReason reason)
{
	wbc_shmem_require();
	wbc_pending_invalidate_everything(reason);
}

/* May it be one segment of a key? */
static bool
is_segment(const char *id, int len)
{
	return len > 0 && memchr(id, ':', len) == NULL;
}

static void
invalidate_odds_key(const char *status, const char *game_id, int len,
					WbcReason reason)
{
	StringInfoData key;

	if (!is_segment(status, strlen(status)) || !is_segment(game_id, len))
		return;
	initStringInfo(&key);
	appendStringInfo(&key, "odds:%s:", status);
	appendBinaryStringInfo(&key, game_id, len);
	wbc_invalidate_key_for(key.data, key.len, reason);
	pfree(key.data);
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

	for (int i = 0; i < lengthof(statuses); i++)
		invalidate_odds_key(statuses[i], game_id, len, reason);

	if (is_segment(game_id, len))
	{
		resetStringInfo(&name);
		appendStringInfoString(&name, "props:categories:");
		appendBinaryStringInfo(&name, game_id, len);
		wbc_invalidate_key_for(name.data, name.len, reason);
	}
	pfree(name.data);
}

static WbcReason
reason_of_status(const char *status)
{
	const char *word = wbc_status_classify(status, strlen(status));

	if (word != NULL && strcmp(word, "cancelled") == 0)
		return WBC_REASON_CANCELLED;
	if (word != NULL && strcmp(word, "postponed") == 0)
		return WBC_REASON_POSTPONED;
	return WBC_REASON_STATUS_CHANGE;
}

bool
wbc_invalidate_status_change(const char *game_id, int len, const char *old,
							 const char *new)
{
	WbcReason	reason;

	if (old == new || (old != NULL && new != NULL && strcmp(old, new) == 0))
		return false;

	reason = new != NULL ? reason_of_status(new) : WBC_REASON_STATUS_CHANGE;
	wbc_invalidate_game(game_id, len, reason);
	if (old != NULL)
		invalidate_odds_key(old, game_id, len, reason);
	if (new != NULL)
		invalidate_odds_key(new, game_id, len, reason);
	return true;
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
 * The stripe that moves with every change of what sidebars are made of; see
 * sidebar.c.
 */
uint32
wbc_invalidate_source_stripe(void)
{
	return wbc_generation_stripe_of_tag(MyDatabaseId, SOURCE, strlen(SOURCE));
}

/*
 * What sidebars are made of changes.
 */
void
wbc_invalidate_source(void)
{
	wbc_pending_invalidate(wbc_invalidate_source_stripe(), NULL);
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
