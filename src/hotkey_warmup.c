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
 * They are flights in advance (flight.c), joined or made: they give way to those
 * of clients, and leave a part of all there is to them.  WINDOW of them are on
 * their way to a source at a time, so that one that doesn't answer stops no
 * other, and few wait in the queues.  A key that a client has brought back is
 * back.
 *
 * A flight that was refused (breaker, rate limit) was none.  Its source then
 * rests, and is asked for one key at a time until one has come back; what fails
 * until then, as the probes of a breaker do, is not held against its key.
 *
 * It ends: a key is given up after TRIES_MAX flights, a warmup when nothing has
 * come back for PATIENCE.
 *
 * The keeper has a reference to each of these flights, which it gives back when
 * that has landed, when it forgets the warmup, and at the end of its process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "flight.h"
#include "guc.h"
#include "hotkey_parts.h"
#include "metrics.h"
#include "miscadmin.h"
#include "statement.h"
#include "storage/ipc.h"
#include "table.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Flights for one key, and pause after the first one that failed. */
#define TRIES_MAX		3
#define TRY_AGAIN		(2 * USECS_PER_SEC)

/* Flights on their way to a source, and its pause after one that was refused. */
#define WINDOW			16
#define REST			(USECS_PER_SEC / 2)

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
	int			in_the_air;
	bool		refuses;		/* a flight was; none has brought a value since */
	TimestampTz rest_until;
} Source;

typedef struct Key
{
	WbcKey		key;
	uint32		uses;
	int			source;
	KeyState	state;
	int			flight;			/* IN THE AIR: a reference is held */
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

static void
leave_all(int code, Datum arg)
{
	for (int i = 0; i < warmup.nkeys; i++)
	{
		Key		   *key = &warmup.keys[i];

		if (key->state != KEY_IN_THE_AIR)
			continue;
		key->state = KEY_PENDING;
		wbc_flight_leave(key->flight);
	}
}

void
wbc_hotkey_forget_warmup(void)
{
	leave_all(0, (Datum) 0);
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

	if (!wbc_memory_peek(question->key, &found))
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
	static bool prepared = false;
	WbcError	error;

	if (!prepared)
		before_shmem_exit(leave_all, 0);
	prepared = true;
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

static void
come_back_at(TimestampTz when)
{
	warmup.next = Min(warmup.next, Max(when, warmup.now + TURN_SOON));
}

/*
 * A key's flight has landed without a value that could be served.
 */
static void
try_again(Key *key, Source *source, const WbcFlightResult *result)
{
	key->state = KEY_PENDING;
	if (result->failed &&
		result->error.sqlstate == WBC_ERRCODE_UPSTREAM_UNAVAILABLE)
	{
		source->refuses = true;
		source->rest_until = warmup.now + REST;
		return;
	}
	if (!source->refuses)
		key->tries++;
	key->not_before = warmup.now + Max(key->tries, 1) * TRY_AGAIN;
	if (key->tries >= TRIES_MAX)
		key->state = KEY_FAILED;
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
		Source	   *source = &warmup.sources[key->source];

		if (key->state != KEY_IN_THE_AIR || !wbc_flight_wait(key->flight, 0))
			continue;
		source->in_the_air--;
		if (is_not_in_memory(&question))
			try_again(key, source, wbc_flight_result(key->flight));
		else
		{
			key->state = KEY_BACK;
			source->refuses = false;
		}
		wbc_flight_leave(key->flight);
	}
}

/*
 * Makes the flight of a key, or joins it.  Returns false when no more can be
 * made now.
 */
static bool
start(Key *key)
{
	Source	   *source = &warmup.sources[key->source];
	bool		by_loader = NameStr(source->server)[0] == '\0';
	WbcCoalescerMetrics *coalescer = wbc_metrics_coalescer();
	Question	question = {&key->key, warmup.now};
	WbcFlightAsk ask = {
		.key = &key->key,
		.now = warmup.now,
		.carrier = by_loader ? WBC_CARRIER_LOADER : WBC_CARRIER_FETCHER,
		.in_advance = true,
		.will_wait = true,
		.still_needed = is_not_in_memory,
		.arg = &question
	};

	switch (wbc_flight_join(&ask, &key->flight))
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
	source->in_the_air++;
	return true;
}

/*
 * May another flight be asked of the source?
 */
static bool
has_room(const Source *source)
{
	if (source->rest_until > warmup.now &&
		source->rest_until <= warmup.now + REST)
	{
		come_back_at(source->rest_until);
		return false;
	}
	return source->in_the_air < (source->refuses ? 1 : WINDOW);
}

static void
start_what_can_be(void)
{
	for (int i = 0; i < warmup.nkeys; i++)
	{
		Key		   *key = &warmup.keys[i];

		if (key->state != KEY_PENDING || !has_room(&warmup.sources[key->source]))
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
