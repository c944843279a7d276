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

#include "common/hashfn.h"
#include "generation.h"
#include "invalidate.h"
#include "key.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "status.h"

/* The segment of a sport or league that is not given. */
#define ALL		"all"

/* A tag that no key carries, for all that sidebars are made of. */
#define SOURCE	"sidebar_source"

/* Of a game's odds, for the statuses of the feed, and one of older feeds. */
static const char *const odds_prefixes[] = {
	"odds:unplayed:", "odds:live:", "odds:half:", "odds:completed:",
	"odds:cancelled:", "odds:suspended:", "odds:delayed:", "odds:forfeited:",
	"odds:invalid:", "odds:postponed:"
};

/* Games that were listed lately, each where its hash says. */
#define RECENT_GAMES	1024
#define RECENT_ID_MAX	51

typedef struct Listed
{
	uint64		token;			/* of the pending list then; 0: free */
	uint8		len;
	char		id[RECENT_ID_MAX];
} Listed;

static Listed recently_listed[RECENT_GAMES];

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

/*
 * Lists a key made of a prefix and the game's id.
 */
static void
invalidate_key_of_game(const char *prefix, const char *game_id, int len,
					   WbcReason reason)
{
	int			prefix_len = strlen(prefix);
	char		key[WBC_KEY_MAX];

	if (prefix_len + len > WBC_KEY_MAX || !is_segment(game_id, len))
		return;
	memcpy(key, prefix, prefix_len);
	memcpy(key + prefix_len, game_id, len);
	wbc_invalidate_key_for(key, prefix_len + len, reason);
}

static void
invalidate_odds_key(const char *status, const char *game_id, int len,
					WbcReason reason)
{
	char	   *prefix;

	if (!is_segment(status, strlen(status)))
		return;
	prefix = psprintf("odds:%s:", status);
	invalidate_key_of_game(prefix, game_id, len, reason);
	pfree(prefix);
}

static Listed *
place_of(const char *game_id, int len)
{
	return &recently_listed[hash_bytes((const unsigned char *) game_id, len) %
							RECENT_GAMES];
}

/*
 * Was all of this game listed, and is it still?  A statement that changes a
 * game's odds in many rows asks for each row.
 */
static bool
is_listed(const char *game_id, int len)
{
	const Listed *listed = place_of(game_id, len);

	return listed->token == wbc_pending_token() && listed->len == len &&
		memcmp(listed->id, game_id, len) == 0;
}

static void
remember_listed(const char *game_id, int len)
{
	Listed	   *listed = place_of(game_id, len);

	if (len > RECENT_ID_MAX)
		return;
	listed->token = wbc_pending_token();
	listed->len = len;
	memcpy(listed->id, game_id, len);
}

void
wbc_invalidate_game(const char *game_id, int len, WbcReason reason)
{
	char	   *tag;

	wbc_shmem_require();
	if (len == 0 || is_listed(game_id, len))
		return;

	tag = palloc(len + strlen("game:"));
	memcpy(tag, "game:", strlen("game:"));
	memcpy(tag + strlen("game:"), game_id, len);
	wbc_invalidate_tag_for(tag, len + strlen("game:"), reason);
	pfree(tag);

	for (int i = 0; i < lengthof(odds_prefixes); i++)
		invalidate_key_of_game(odds_prefixes[i], game_id, len, reason);
	invalidate_key_of_game("props:categories:", game_id, len, reason);
	remember_listed(game_id, len);
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
