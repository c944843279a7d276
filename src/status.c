/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What a feed's word for the state of a game means.
 *
 * Layer 1.  The canonical words are those of the OpticOdds feed; other feeds
 * have other words for the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "status.h"
#include "utils/builtins.h"

/* Longest word that is known, its NUL included. */
#define WORD_SIZE	24

PG_FUNCTION_INFO_V1(wbcache_classify_game_status);
PG_FUNCTION_INFO_V1(wbcache_is_status_off);

/* Words for one state; the first is the canonical one, '_' stands for a divider. */
typedef struct State
{
	bool		is_off;			/* over, or off */
	const char *words[13];
} State;

static const State states[] = {
	{false, {"unplayed", "scheduled", "not_started", "notstarted", "ns", "upcoming",
	"pregame", "pre_game", "pre_match", "prematch"}},
	{false, {"live", "in_progress", "inprogress", "in_play", "inplay", "started",
	"playing", "overtime", "ot", "first_half", "second_half", "1h", "2h"}},
	{false, {"half", "half_time", "halftime", "ht", "break", "intermission"}},
	{true, {"completed", "complete", "final", "finished", "ended", "closed",
	"full_time", "fulltime", "ft", "aet", "final_ot"}},
	{true, {"cancelled", "canceled", "abandoned"}},
	{true, {"suspended", "interrupted", "paused"}},
	{false, {"delayed", "delay"}},
	{true, {"forfeited", "forfeit", "walkover"}},
	{true, {"invalid"}},
	{true, {"postponed", "ppd"}},
};

/*
 * The word in lower case, with '_' for each space, '-' and '/', and without
 * spaces around it.  ASCII only: no known word has anything else.  Returns
 * false when it is too long to be known.
 */
static bool
normalize(const char *word, int len, char *normal)
{
	while (len > 0 && word[len - 1] == ' ')
		len--;
	while (len > 0 && *word == ' ')
		word++, len--;
	if (len >= WORD_SIZE)
		return false;
	for (int i = 0; i < len; i++)
		normal[i] = strchr(" -/", word[i]) != NULL ? '_' :
			pg_ascii_tolower((unsigned char) word[i]);
	normal[len] = '\0';
	return true;
}

/* NULL: the word is not known. */
static const State *
state_of(const char *word, int len)
{
	char		normal[WORD_SIZE];

	if (!normalize(word, len, normal))
		return NULL;
	for (int i = 0; i < lengthof(states); i++)
		for (int j = 0; j < lengthof(states[i].words) && states[i].words[j] != NULL; j++)
			if (strcmp(states[i].words[j], normal) == 0)
				return &states[i];
	return NULL;
}

/*
 * The canonical word, or NULL when this one is not known.
 */
const char *
wbc_status_classify(const char *word, int len)
{
	const State *state = state_of(word, len);

	return state != NULL ? state->words[0] : NULL;
}

/*
 * Is such a game over or off?
 */
bool
wbc_status_is_off(const char *word, int len)
{
	const State *state = state_of(word, len);

	return state != NULL && state->is_off;
}

Datum
wbcache_classify_game_status(PG_FUNCTION_ARGS)
{
	text	   *word = PG_GETARG_TEXT_PP(0);
	const char *canonical = wbc_status_classify(VARDATA_ANY(word),
												VARSIZE_ANY_EXHDR(word));

	if (canonical == NULL)
		PG_RETURN_TEXT_P(word);
	PG_RETURN_TEXT_P(cstring_to_text(canonical));
}

Datum
wbcache_is_status_off(PG_FUNCTION_ARGS)
{
	text	   *word = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(wbc_status_is_off(VARDATA_ANY(word),
									 VARSIZE_ANY_EXHDR(word)));
}
