/*-------------------------------------------------------------------------
 *
 * hotkey_warmup.c
 *	  Fetching the hottest keys again that were lost.
 *
 * Layer 4, a part of hotkey.c.
 *
 * A warmup begins with the keys that neither tier has, and starts flights for
 * them, hottest first:
 *
 *		PENDING -> IN THE AIR -> BACK
 *					    |
 *				 FAILED, or PENDING again
 *
 * They are flights as everybody's, joined or made, with the same breaker and
 * rate limit; but nobody waits for them, so that the fetcher lets clients'
 * flights go first, and there are never more than half of a server's connections
 * and half of its rate limit allow: see wbc_upstream_spare().  Of those for
 * loaders there are half as many as there are loaders, and none while others
 * wait.  A key that a client has brought back is back.
 *
 * It ends: a key is given up after TRIES_MAX flights, a warmup when nothing has
 * come back for PATIENCE.  While a server's breaker is open its keys wait for it,
 * but for one at a time, which is its probe.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "error.h"
#include "flight.h"
#include "guc.h"
#include "hotkey_parts.h"
#include "metrics.h"
#include "miscadmin.h"
#include "server.h"
#include "statement.h"
#include "table.h"
#include "upstream.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* Flights for one key, and pause after the first one that failed. */
#define TRIES_MAX		3
#define TRY_AGAIN		(2 * USECS_PER_SEC)

/* Nothing has come back for so long: it is not worth going on. */
#define PATIENCE		(10 * USECS_PER_MINUTE)

/* Attempts to begin, and the time between them. */
#define BEGIN_TRIES_MAX	3
#define BEGIN_AGAIN		(5 * USECS_PER_SEC)

/* Turns while something is in the air, or may be soon. */
#define TURN_SOON		(25 * USECS_PER_SEC / 1000)
#define TURN_LATER		(250 * USECS_PER_SEC / 1000)

typedef enum KeyState
{
	KEY_PENDING,
	KEY_IN_THE_AIR,
	KEY_BACK,
	KEY_FAILED
} KeyState;

/* Where keys come from: one server, or the loaders of this database. */
typedef struct Source
{
	NameData	server;			/* empty: the loaders */
	Oid			owner;			/* of one of its endpoints */
	int			in_the_air;
	int			spare;			/* flights that may be started in this turn */
} Source;

typedef struct Key
{
	WbcKey		key;
	uint32		uses;
	int			source;
	KeyState	state;
	int			tries;
	TimestampTz not_before;
} Key;

/* What the keeper is about; NULL context: nothing. */
typedef struct Warmup
{
	MemoryContext context;
	TimestampTz now;			/* of this turn */
	int			nsources;
	Source	   *sources;
	int			nkeys;
	Key		   *keys;			/* hottest first */
	TimestampTz next;
} Warmup;

static Warmup warmup = {0};

/* A key that may be missing, for a question under the flight lock. */
typedef struct Question
{
	const WbcKey *key;
	TimestampTz now;
} Question;

void
wbc_hotkey_forget_warmup(void)
{
	if (warmup.context != NULL)
		MemoryContextDelete(warmup.context);
	memset(&warmup, 0, sizeof(warmup));
}

/* ----------------------------------------------------------------
 * What is missing
 * ----------------------------------------------------------------
 */

/*
 * Has memory no value for the key that could be served?  Doesn't throw.
 */
static bool
is_not_in_memory(void *arg)
{
	const Question *question = arg;
	WbcFound	found;
	bool		good;

	if (!wbc_memory_find(question->key, &found))
		return true;
	good = found.entry->kind == WBC_ENTRY_VALUE &&
		wbc_entry_hard_expires_at(found.entry) > question->now &&
		wbc_entry_is_current(found.entry);
	wbc_memory_unpin(found.pointer);
	return !good;
}

static bool
is_in_table(const WbcKey *key)
{
	WbcTableRow row;

	return wbc_table_find(key, &row) && row.hard_expires_at > warmup.now &&
		wbc_stamp_is_current(key, &row.stamp);
}

/* The number of the source of a key with this route. */
static int
source_of(const WbcRoute *route)
{
	const WbcEndpoint *endpoint = route->endpoint;
	Source	   *source;

	for (int i = 0; i < warmup.nsources; i++)
		if (strcmp(NameStr(warmup.sources[i].server),
				   NameStr(endpoint->server)) == 0)
			return i;
	source = &warmup.sources[warmup.nsources];
	memset(source, 0, sizeof(Source));
	source->server = endpoint->server;
	source->owner = endpoint->owner;
	return warmup.nsources++;
}

static int
hotter_first(const void *a, const void *b)
{
	uint32		uses_a = ((const Key *) a)->uses;
	uint32		uses_b = ((const Key *) b)->uses;

	return uses_a > uses_b ? -1 : uses_a < uses_b ? 1 : 0;
}

/*
 * Lists the keys that are missing.
 */
static void
list_missing(void *arg)
{
	MemoryContext caller;
	MemoryContext row_context;
	WbcHotkey  *rows;
	int			n;

	if (wbc_guc_hot_keys == 0 || !OidIsValid(wbc_statement_table("hot_key")))
		return;
	wbc_endpoint_prepare();
	n = wbc_hotkey_read(&rows, warmup.now);
	warmup.keys = MemoryContextAllocHuge(warmup.context, (n + 1) * sizeof(Key));
	warmup.sources = MemoryContextAllocHuge(warmup.context, (n + 1) * sizeof(Source));
	row_context = AllocSetContextCreate(CurrentMemoryContext,
										"wbcache row", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(row_context);
	for (int i = 0; i < n; i++)
	{
		const WbcKey *key = &rows[i].use.key;
		Question	question = {key, warmup.now};
		Key		   *missing = &warmup.keys[warmup.nkeys];
		WbcRoute	route;

		MemoryContextReset(row_context);
		if (!is_not_in_memory(&question) || is_in_table(key) ||
			!wbc_hotkey_can_fetch(key, &route))
			continue;
		memset(missing, 0, sizeof(Key));
		missing->key = *key;
		missing->uses = rows[i].use.uses;
		missing->source = source_of(&route);
		warmup.nkeys++;
	}
	MemoryContextSwitchTo(caller);
	qsort(warmup.keys, warmup.nkeys, sizeof(Key), hotter_first);
	warmup.nkeys = Min(warmup.nkeys, wbc_guc_hot_keys);
}

/* ----------------------------------------------------------------
 * Beginning and end
 * ----------------------------------------------------------------
 */

static void
end(WbcHotkeys *state, WbcWarmupState how, TimestampTz now)
{
	state->state = how;
	state->under_way = 0;
	state->note_again_at = now + (int64) wbc_guc_hot_keys_interval * 1000;
	wbc_hotkey_forget_warmup();
	if (how == WBC_WARMUP_NONE)
		return;
	state->ended_at = now;
	ereport(LOG,
			(errmsg("%d of %d hot keys are back after %.1f s",
					state->back, state->wanted,
					(now - state->started_at) / 1000000.0),
			 how == WBC_WARMUP_GIVEN_UP ?
			 errdetail("The others are not tried any more, since none has come back for a while or wbcache.hot_keys is 0.") :
			 state->failed > 0 ?
			 errdetail("The others could not be fetched.") : 0));
}

/*
 * It could not be begun.
 */
static void
postpone(WbcHotkeys *state, const WbcError *error, TimestampTz now)
{
	ereport(LOG,
			(errcode(error->sqlstate),
			 errmsg("the hot keys of wbcache could not be read: %s",
					error->message)));
	wbc_hotkey_forget_warmup();
	state->not_before = now + BEGIN_AGAIN;
	if (++state->tries < BEGIN_TRIES_MAX)
		return;
	if (state->state == WBC_WARMUP_UNDER_WAY)
		end(state, WBC_WARMUP_GIVEN_UP, now);
	else
		end(state, WBC_WARMUP_NONE, now);
}

/*
 * Begins, or goes on where another keeper has left.
 */
static void
begin(WbcHotkeys *state, TimestampTz now)
{
	WbcError	error;

	warmup.context = AllocSetContextCreate(TopMemoryContext, "wbcache warmup",
										   ALLOCSET_DEFAULT_SIZES);
	if (!wbc_statement_transaction(list_missing, NULL, &error))
	{
		postpone(state, &error, now);
		return;
	}
	if (state->state == WBC_WARMUP_UNDER_WAY)
		return;
	if (warmup.nkeys == 0)
	{
		end(state, WBC_WARMUP_NONE, now);
		return;
	}
	state->state = WBC_WARMUP_UNDER_WAY;
	state->wanted = warmup.nkeys;
	state->started_at = state->progress_at = now;
	ereport(LOG,
			(errmsg("bringing back %d hot keys that the cache has lost",
					warmup.nkeys)));
}

/*
 * Counts, and ends what has come to its end.
 */
static void
take_stock(WbcHotkeys *state, TimestampTz now)
{
	int			count[KEY_FAILED + 1] = {0};
	int			left;
	int			back;

	for (int i = 0; i < warmup.nkeys; i++)
		count[warmup.keys[i].state]++;
	left = count[KEY_PENDING] + count[KEY_IN_THE_AIR];
	back = state->wanted - left - count[KEY_FAILED];
	if (back > state->back)
		state->progress_at = now;
	state->back = Max(back, 0);
	state->under_way = count[KEY_IN_THE_AIR];
	state->failed = count[KEY_FAILED];

	if (left == 0)
		end(state, WBC_WARMUP_DONE, now);
	else if (wbc_guc_hot_keys == 0 || state->progress_at + PATIENCE < now)
		end(state, WBC_WARMUP_GIVEN_UP, now);
}

/* ----------------------------------------------------------------
 * In the air
 * ----------------------------------------------------------------
 */

static WbcFlightAsk
ask_for(const Key *key, Question *question)
{
	bool		by_loader = NameStr(warmup.sources[key->source].server)[0] == '\0';
	WbcFlightAsk ask = {
		.key = &key->key,
		.now = warmup.now,
		.carrier = by_loader ? WBC_CARRIER_LOADER : WBC_CARRIER_FETCHER,
		.still_needed = is_not_in_memory,
		.arg = question
	};

	question->key = &key->key;
	question->now = warmup.now;
	return ask;
}

static bool
is_flying(const Key *key)
{
	Question	question;
	WbcFlightAsk ask = ask_for(key, &question);
	int			none;

	ask.join_only = true;
	return wbc_flight_join(&ask, &none) == WBC_JOIN_JOINED;
}

/*
 * Sees what has become of the keys in the air.
 */
static void
meet_landed(void)
{
	for (int i = 0; i < warmup.nkeys; i++)
	{
		Key		   *key = &warmup.keys[i];
		Question	question = {&key->key, warmup.now};

		if (key->state != KEY_IN_THE_AIR || is_flying(key))
			continue;
		warmup.sources[key->source].in_the_air--;
		if (!is_not_in_memory(&question))
			key->state = KEY_BACK;
		else
		{
			key->tries++;
			key->state = key->tries < TRIES_MAX ? KEY_PENDING : KEY_FAILED;
			key->not_before = warmup.now + key->tries * TRY_AGAIN;
		}
	}
}

/* ----------------------------------------------------------------
 * Starting flights
 * ----------------------------------------------------------------
 */

static void
come_back_at(TimestampTz when)
{
	warmup.next = Min(warmup.next, Max(when, warmup.now + TURN_SOON));
}

static int
spare_of_server(const Source *source)
{
	WbcServer  *server = wbc_server_load(NameStr(source->server), source->owner);
	TimestampTz when;
	int			spare;

	spare = wbc_upstream_spare(wbc_upstream_slot(MyDatabaseId, server->serverid),
							   server, source->in_the_air, warmup.now, &when);
	if (spare == 0 && when > warmup.now)
		come_back_at(when);
	return spare;
}

/*
 * The same where the server may be gone, or its owner have lost the right to use
 * it: then one flight at a time will find out what is wrong.
 */
static int
try_spare_of_server(const Source *source)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context = CurrentMemoryContext;
	volatile int spare;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		spare = spare_of_server(source);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		spare = source->in_the_air == 0 ? 1 : 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	return spare;
}

static int
spare_of_loaders(const Source *source)
{
	int			queued;
	int			under_way;

	wbc_flight_count_of(MyDatabaseId, WBC_CARRIER_LOADER, &queued, &under_way);
	if (queued > source->in_the_air)
		return 0;
	return Max(Max(wbc_guc_loaders / 2, 1) - source->in_the_air, 0);
}

/*
 * Finds out how many flights each source can bear now.
 */
static void
ask_sources(void *arg)
{
	for (int i = 0; i < warmup.nsources; i++)
	{
		Source	   *source = &warmup.sources[i];

		if (NameStr(source->server)[0] == '\0')
			source->spare = spare_of_loaders(source);
		else
			source->spare = try_spare_of_server(source);
	}
}

/*
 * Makes the flight of a key, or joins it.  Returns false when no more can be
 * made now.
 */
static bool
start(Key *key)
{
	WbcCoalescerMetrics *coalescer = wbc_metrics_coalescer();
	Question	question;
	WbcFlightAsk ask = ask_for(key, &question);
	int			none;

	switch (wbc_flight_join(&ask, &none))
	{
		case WBC_JOIN_STARTED:
			wbc_metrics_count(&coalescer->new_requests);
			break;
		case WBC_JOIN_JOINED:
			wbc_metrics_count(&coalescer->coalesced_requests);
			break;
		case WBC_JOIN_NOT_NEEDED:
			key->state = KEY_BACK;
			return true;
		case WBC_JOIN_FULL:
		case WBC_JOIN_NO_WORKER:
			return false;
	}
	key->state = KEY_IN_THE_AIR;
	warmup.sources[key->source].in_the_air++;
	warmup.sources[key->source].spare--;
	return true;
}

static void
start_what_can_be(void)
{
	WbcError	error;

	if (!wbc_statement_transaction(ask_sources, NULL, &error))
		return;
	for (int i = 0; i < warmup.nkeys; i++)
	{
		Key		   *key = &warmup.keys[i];

		if (key->state != KEY_PENDING || warmup.sources[key->source].spare <= 0)
			continue;
		if (key->not_before > warmup.now)
			come_back_at(key->not_before);
		else if (!start(key))
			break;
	}
}

/*
 * Does a bit of it, and returns when to go on.
 */
TimestampTz
wbc_hotkey_warm_up(WbcHotkeys *state, TimestampTz now)
{
	if (now < state->not_before && state->not_before <= now + BEGIN_AGAIN)
		return state->not_before;

	warmup.now = now;
	if (warmup.context == NULL)
		begin(state, now);
	if (warmup.context == NULL)
		return now + TURN_LATER;

	warmup.next = now + TURN_LATER;
	meet_landed();
	start_what_can_be();
	take_stock(state, now);
	if (state->under_way > 0)
		come_back_at(now + TURN_SOON);
	return warmup.next;
}
