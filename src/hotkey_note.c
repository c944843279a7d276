/*-------------------------------------------------------------------------
 *
 * hotkey_note.c
 *	  Finding the hottest keys in memory.
 *
 * Layer 4, a part of hotkey.c.
 *
 * Every wbcache.hot_keys_interval the keeper goes over the memory tier, a piece
 * a turn so that nobody has to wait for its loader, and keeps the keys with most
 * uses in a heap.  With the last piece they are merged into the table.  A piece is a
 * transaction, since the endpoints must be known: keys that can't be fetched
 * are not to crowd out those that can.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "guc.h"
#include "hotkey_parts.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "statement.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Buckets looked at in one turn: some 10 ms. */
#define PIECE	8192

/* A search, while one is under way; NULL context: none is. */
typedef struct Search
{
	MemoryContext context;
	TimestampTz now;			/* of this turn */
	uint32		cursor;			/* next bucket */
	int			ages;			/* by which uses age */
	int			most;
	int			n;
	WbcHotkey  *hot;
	binaryheap *heap;			/* of pointers into hot, the coldest first */
	bool		ended;
} Search;

static Search search = {0};

static int
colder_first(Datum a, Datum b, void *arg)
{
	uint32		uses_a = ((WbcHotkey *) DatumGetPointer(a))->use.uses;
	uint32		uses_b = ((WbcHotkey *) DatumGetPointer(b))->use.uses;

	return uses_a < uses_b ? 1 : uses_a > uses_b ? -1 : 0;
}

/*
 * The search is over, or not ours any more.
 */
void
wbc_hotkey_forget_note(void)
{
	if (search.context != NULL)
		MemoryContextDelete(search.context);
	memset(&search, 0, sizeof(search));
}

static void
begin_search(WbcHotkeys *state, TimestampTz now)
{
	MemoryContext caller;

	search.context = AllocSetContextCreate(TopMemoryContext,
										   "wbcache hot keys",
										   ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(search.context);
	search.most = wbc_guc_hot_keys;
	search.hot = palloc_extended(Max(search.most, 1) * sizeof(WbcHotkey),
								 MCXT_ALLOC_HUGE);
	search.heap = binaryheap_allocate(Max(search.most, 1), colder_first, NULL);
	MemoryContextSwitchTo(caller);

	if (state->aged_at == 0 || state->aged_at > now)
		state->aged_at = now;
	search.ages = Min((now - state->aged_at) / USECS_PER_MINUTE, PG_INT16_MAX);
	state->aged_at += search.ages * USECS_PER_MINUTE;
}

/* Fewer uses are not of interest any more. */
static uint32
threshold(void)
{
	if (search.n < search.most)
		return 0;
	return ((WbcHotkey *) DatumGetPointer(binaryheap_first(search.heap)))->use.uses;
}

static void
consider(const WbcUse *use)
{
	WbcHotkey  *place;
	WbcRoute	route;

	if (use->uses <= threshold() || !wbc_hotkey_can_fetch(&use->key, &route))
		return;
	if (search.n < search.most)
		place = &search.hot[search.n++];
	else
		place = (WbcHotkey *) DatumGetPointer(binaryheap_remove_first(search.heap));
	place->use = *use;
	place->endpoint = route.endpoint->name;
	binaryheap_add(search.heap, PointerGetDatum(place));
}

/*
 * Looks at a piece of the memory; after the last one, writes.
 */
static void
look_at_piece(void *arg)
{
	uint32		cursor = search.cursor;

	search.ended = !OidIsValid(wbc_statement_table("hot_key"));
	if (search.ended)
		return;
	wbc_endpoint_prepare();
	for (int i = 0; i < PIECE && search.most > 0; i++)
	{
		WbcUse		uses[WBC_USES_MAX];
		int			n = wbc_memory_collect_uses(MyDatabaseId, &cursor,
												search.ages, threshold(), uses);

		for (int u = 0; u < n; u++)
			consider(&uses[u]);
		if (cursor == 0)
			break;
	}
	search.cursor = cursor;
	search.ended = cursor == 0;
	if (search.ended)
		wbc_hotkey_write(search.hot, search.n, search.most, search.now);
}

/*
 * Does a piece of what is due, and returns when to go on.  An error costs a log
 * line; the table stays as it is until the next time.
 */
TimestampTz
wbc_hotkey_note(WbcHotkeys *state, TimestampTz now)
{
	int64		interval = (int64) wbc_guc_hot_keys_interval * 1000;
	WbcError	error;

	if (search.context == NULL && now < state->note_again_at &&
		state->note_again_at <= now + interval)
		return state->note_again_at;

	if (search.context == NULL)
		begin_search(state, now);
	search.now = now;
	if (!wbc_statement_transaction(look_at_piece, NULL, &error))
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("the hot keys of wbcache could not be noted: %s",
						error.message)));
	else if (!search.ended)
		return now;
	else
		state->noted_at = now;

	wbc_hotkey_forget_note();
	state->note_again_at = now + interval;
	return state->note_again_at;
}
