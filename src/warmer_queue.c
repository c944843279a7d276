/*-------------------------------------------------------------------------
 *
 * warmer_queue.c
 *	  What a run of the warmer has to do, and in which order.
 *
 * Layer 4, a part of warmer.c.  The queue and all it points to live in the run's
 * memory.  Its last job is the next one: first those of the games' categories, in
 * order of the games' priority; when the value of one has come, the keys of its
 * game's props take its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ahead.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "guc.h"
#include "key.h"
#include "miscadmin.h"
#include "statement.h"
#include "utils/memutils.h"
#include "warmer.h"

/* Can it be a segment of a key? */
static bool
is_segment(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (*p == ':' || wbc_key_is_control(*p))
			return false;
	return text[0] != '\0' && strlen(text) < WBC_KEY_MAX / 2;
}

static void
add_job(WbcWarmerQueue *queue, WbcWarmerGame *game, bool is_categories, char *key)
{
	WbcWarmerJob *job = palloc(sizeof(WbcWarmerJob));

	job->game = game;
	job->is_categories = is_categories;
	job->key = key;
	queue->jobs = lappend(queue->jobs, job);
}

/*
 * Returns false when there can be no keys of the game.
 */
static bool
add_game(WbcWarmerQueue *queue, char *id, int priority, uint64 *group)
{
	WbcWarmerGame *game = palloc0(sizeof(WbcWarmerGame));

	game->id = id;
	game->priority = priority;
	game->group = wbc_ahead_group(id, strlen(id));
	*group = game->group;
	if (!is_segment(id))
		return false;
	add_job(queue, game, true, psprintf("props:categories:%s", id));
	return true;
}

/*
 * The games that are to be warmed.  Returns how many there are; sets what they
 * belong to, and adds to *unusable those that there can be no keys of.
 */
static uint64
read_games(WbcWarmerQueue *queue, Oid events, uint64 **groups, int *unusable)
{
	static const Oid types[1] = {FLOAT8OID};
	Datum		values[1] = {Float8GetDatum(wbc_guc_warmer_ahead / 3600000.0)};
	WbcStatementScope scope;
	uint64		n;

	wbc_statement_begin_reading(events, &scope);
	n = wbc_statement_execute("SELECT fixture_id, priority"
							  " FROM wbcache.get_upcoming_fixtures($1)",
							  1, types, values, NULL);
	*groups = MemoryContextAllocHuge(queue->context, Max(n, 1) * sizeof(uint64));
	for (int64 i = (int64) n - 1; i >= 0; i--)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext caller = MemoryContextSwitchTo(queue->context);
		bool		null;

		*unusable += !add_game(queue, SPI_getvalue(tuple, desc, 1),
							   DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null)),
							   &(*groups)[i]);
		MemoryContextSwitchTo(caller);
	}
	wbc_statement_end(&scope);
	return n;
}

/*
 * Fills the queue with the categories of the games that are to be warmed; what is
 * not any more goes off the list of ahead.c.  Adds to *unusable the games whose id
 * can't be a part of a key.  Returns false when no table of events is bound.
 * Needs a snapshot.
 */
bool
wbc_warmer_plan(WbcWarmerQueue *queue, int *unusable)
{
	Oid			events = wbc_statement_relation("events");
	uint64	   *groups = NULL;
	uint64		n = 0;

	if (OidIsValid(events))
		n = read_games(queue, events, &groups, unusable);
	wbc_ahead_keep(MyDatabaseId, groups, n);
	if (groups != NULL)
		pfree(groups);
	return OidIsValid(events);
}

/* One category's. */
static void
add_props_of(WbcWarmerQueue *queue, WbcWarmerGame *game, const char *category)
{
	for (int i = list_length(queue->sportsbooks) - 1; i >= 0; i--)
	{
		const char *sportsbook = list_nth(queue->sportsbooks, i);
		char	   *key = psprintf("props:%s:%s:%s", game->id, category, sportsbook);

		if (is_segment(category) && is_segment(sportsbook) && strlen(key) <= WBC_KEY_MAX)
			add_job(queue, game, false, key);
		else
			pfree(key);
	}
}

/*
 * Puts the keys of a game's props at the head of the queue.  Returns false when
 * the value doesn't look like categories.  Needs a snapshot, and SPI.
 */
bool
wbc_warmer_add_props(WbcWarmerQueue *queue, WbcWarmerGame *game, text *categories)
{
	static const Oid types[2] = {JSONOID, INT4OID};
	Datum		values[2] = {
		PointerGetDatum(categories), Int32GetDatum(wbc_guc_warmer_categories)
	};
	MemoryContext caller;
	bool		is_list = true;

	(void) wbc_statement_execute("SELECT category FROM wbcache.top_categories($1, $2)",
								 2, types, values, NULL);
	caller = MemoryContextSwitchTo(queue->context);
	for (int64 i = (int64) SPI_processed - 1; i >= 0; i--)
	{
		char	   *category = SPI_getvalue(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, 1);

		is_list = category != NULL;
		if (is_list)
			add_props_of(queue, game, category);
	}
	MemoryContextSwitchTo(caller);
	SPI_freetuptable(SPI_tuptable);
	return is_list;
}

/*
 * How many props a game has at most.
 */
int
wbc_warmer_most_props(const WbcWarmerQueue *queue)
{
	return wbc_guc_warmer_categories * list_length(queue->sportsbooks);
}
