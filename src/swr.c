/*-------------------------------------------------------------------------
 *
 * swr.c
 *	  The read path: fresh from memory, stale while it is refreshed, or a
 *	  wait for a flight.
 *
 * Layer 4.  Called by the SQL functions in read.c.
 *
 * A read holds at most one pin and takes at most one lock at a time, but for
 * look_again(), which runs under the flight lock.  What was pinned is copied
 * and unpinned before anything can throw.
 *
 * Who waits holds a reference to the flight.  All waiting is inside one
 * PG_ENSURE_ERROR_CLEANUP block, so that the reference is given back on
 * errors, cancel, and the end of the session alike; the flight goes on
 * without this reader.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "commands/dbcommands.h"
#include "error.h"
#include "flight.h"
#include "guc.h"
#include "key.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "stamp.h"
#include "storage/ipc.h"
#include "swr.h"
#include "table.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/*
 * For so long nobody else asks for a refresh that one reader has asked for.
 * It is only to spare stale readers the flight table; should the request get
 * lost, another one is made after this time.
 */
#define REFRESH_CLAIM	(1 * USECS_PER_SEC)

/* Rounds of "look, then find it isn't needed" before a flight is insisted on. */
#define ROUNDS_MAX	16

/* What a look into the memory tier says. */
typedef enum Look
{
	LOOK_FRESH,
	LOOK_STALE,
	LOOK_MISS,
	LOOK_FAILURE				/* the fetch failed a moment ago */
} Look;

static WbcEndpointMetrics *
counters(const WbcRead *read)
{
	return wbc_metrics_endpoint(read->route.endpoint->metrics);
}

/* Where the value comes from when it isn't there. */
static WbcSource
source_of(const WbcRead *read)
{
	return OidIsValid(read->loader) ? WBC_SOURCE_LOADER :
		wbc_endpoint_source(read->route.endpoint);
}

static void
start_read(WbcRead *read, TimestampTz now)
{
	read->asked_at = now;
	read->deadline = now + (int64) wbc_guc_max_wait * 1000;
	read->value = NULL;
	read->failed = false;
	read->age = read->ttl = read->waited = 0;
	read->note = NULL;
	read->bypass = false;
	read->flight = -1;
	read->started_flight = false;
	read->from_table = false;
	read->lease_time = 0;
	read->lease = 0;
	read->lease_lost = false;
}

/*
 * To be called before the other functions, once for all reads that are
 * answered together.
 */
void
wbc_swr_prepare(void)
{
	wbc_shmem_require();
	wbc_memory_attach();
	wbc_endpoint_prepare();
}

/*
 * Starts a read: finds the key's endpoint and checks that the current role may
 * read it.  Throws what the user has to know.
 */
void
wbc_swr_begin(WbcRead *read, const text *key, TimestampTz now)
{
	wbc_shmem_require();
	wbc_memory_attach();
	wbc_key_from_text(&read->key, key);
	wbc_memory_prefetch(&read->key);
	wbc_generation_prefetch(&read->key);

	if (!wbc_endpoint_route(&read->key, &read->route))
		wbc_endpoint_report_no_route(&read->key);
	if (!wbc_endpoint_may_read(read->route.endpoint, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for endpoint \"%s\"",
						NameStr(read->route.endpoint->name)),
				 errhint("Ask the endpoint's owner to add your role to its readers.")));

	read->loader = InvalidOid;
	start_read(read, now);
}

/*
 * Throws unless the current role may have a lease of the key.
 */
void
wbc_swr_check_lease(const WbcRead *read)
{
	const char *name = NameStr(read->route.endpoint->name);

	if (!wbc_endpoint_may_write(read->route.endpoint, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write keys of endpoint \"%s\"",
						name),
				 errhint("Ask the endpoint's owner to add your role to its writers.")));
	if (source_of(read) != WBC_SOURCE_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("endpoint \"%s\" gets its values itself", name),
				 errhint("Read it with wbcache.get(); leases are for endpoints without a server and a loader.")));
}

/*
 * Starts a read of a key without an endpoint, which belongs to the current
 * role and the loader.  The caller has filled in the TTLs in rules, which must
 * live as long as the read; the rest of them is filled in here.
 */
void
wbc_swr_begin_ad_hoc(WbcRead *read, const text *key, WbcEndpoint *rules,
					 Oid loader, TimestampTz now)
{
	WbcKey		plain;

	if (!OidIsValid(loader))
		wbc_call_check_type(loader);
	wbc_key_from_text(&plain, key);
	if (wbc_endpoint_route(&plain, &read->route))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key belongs to endpoint \"%s\"",
						NameStr(read->route.endpoint->name)),
				 errhint("Read it with wbcache.get(), or use a key that matches no endpoint.")));
	wbc_key_make_private(&read->key, &plain, GetUserId(), loader);
	rules->on_invalidate = WBC_ON_INVALIDATE_REMOVE;
	rules->stripe = wbc_generation_stripe_of_private(&read->key, GetUserId());
	rules->metrics = 0;
	read->route.endpoint = rules;
	read->loader = loader;
	start_read(read, now);
}

/* ----------------------------------------------------------------
 * Looking into memory
 * ----------------------------------------------------------------
 */

/*
 * Was the entry made for the endpoint that the key belongs to now?  Its stripe
 * is among the first four; see wbc_endpoint_stamp().
 */
static bool
is_of_endpoint(const WbcEntry *entry, const WbcEndpoint *endpoint)
{
	const uint32 *stripes = wbc_entry_stripes(entry);

	for (int i = Min(4, entry->nstripes) - 1; i >= 0; i--)
		if (stripes[i] == endpoint->stripe)
			return true;
	return false;
}

static Look
judge(const WbcRead *read, const WbcFound *found, TimestampTz now)
{
	const WbcEntry *entry = found->entry;
	const WbcEndpoint *endpoint = read->route.endpoint;
	bool		current;

	if (wbc_entry_hard_expires_at(entry) <= now ||
		!is_of_endpoint(entry, endpoint) ||
		wbc_pending_touches(&read->key, entry->nstripes,
							wbc_entry_stripes(entry)))
		return LOOK_MISS;

	current = wbc_entry_is_current(entry);
	if (entry->kind == WBC_ENTRY_ERROR)
		return current ? LOOK_FAILURE : LOOK_MISS;
	if (current)
		return entry->soft_expires_at > now ? LOOK_FRESH : LOOK_STALE;

	switch (endpoint->on_invalidate)
	{
		case WBC_ON_INVALIDATE_EXPIRE:
			return LOOK_STALE;
		case WBC_ON_INVALIDATE_REMOVE:
			break;
	}
	return LOOK_MISS;
}

/*
 * Looks the key up.  Unless the answer is LOOK_MISS, the entry found is pinned
 * for the caller.  Doesn't throw.
 */
static Look
look(const WbcRead *read, TimestampTz now, WbcFound *found)
{
	Look		answer;

	if (!wbc_memory_find(&read->key, found))
		return LOOK_MISS;

	answer = judge(read, found, now);
	if (answer == LOOK_MISS)
		wbc_memory_unpin(found->pointer);
	return answer;
}

/*
 * Copies a pinned entry's value into the answer.  Returns false when there is
 * no memory for it; doesn't throw, so that the caller can unpin first.
 */
static bool
copy_value(WbcRead *read, const WbcEntry *entry)
{
	text	   *copy = palloc_extended((Size) entry->value_len + VARHDRSZ,
									   MCXT_ALLOC_NO_OOM);

	if (copy == NULL)
		return false;
	SET_VARSIZE(copy, entry->value_len + VARHDRSZ);
	memcpy(VARDATA(copy), wbc_entry_value(entry), entry->value_len);
	read->value = copy;
	return true;
}

/*
 * Makes a pinned value the answer.  Leaves the pin to the caller.
 */
static void
take_value(WbcRead *read, dsa_pointer pointer, TimestampTz now, bool unpin)
{
	const WbcEntry *entry = wbc_memory_entry(pointer);
	bool		copied = copy_value(read, entry);

	read->age = Max(now - entry->cached_at, 0);
	read->ttl = entry->soft_expires_at - now;
	if (unpin)
		wbc_memory_unpin(pointer);
	if (!copied)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed to copy a cached value.")));
}

/* For a read whose error has just been filled in. */
static void
mark_failed(WbcRead *read)
{
	read->failed = true;
	wbc_metrics_count(&counters(read)->errors);
}

static void
take_failure(WbcRead *read, const WbcFound *found, TimestampTz now)
{
	memcpy(&read->error, wbc_entry_value(found->entry), sizeof(WbcError));
	wbc_memory_unpin(found->pointer);
	mark_failed(read);
}

static WbcFlightAsk
make_ask(const WbcRead *read)
{
	WbcFlightAsk ask = {
		.key = &read->key,
		.now = read->asked_at,
		.ad_hoc.loader = read->loader,
		.ad_hoc.soft_ttl = read->route.endpoint->soft_ttl,
		.ad_hoc.hard_ttl = read->route.endpoint->hard_ttl
	};

	switch (source_of(read))
	{
		case WBC_SOURCE_SERVER:
			ask.carrier = WBC_CARRIER_FETCHER;
			break;
		case WBC_SOURCE_LOADER:
			ask.carrier = WBC_CARRIER_LOADER;
			break;
		case WBC_SOURCE_NONE:
			ask.carrier = WBC_CARRIER_CLIENT;
			ask.lease_until = read->asked_at + read->lease_time;
			ask.join_only = read->lease_time == 0;
			break;
	}
	return ask;
}

/*
 * Asks for the refresh that this reader has claimed.  Nobody waits for it, and
 * that it can't be had now is no reason to fail.
 */
static void
ask_for_refresh(WbcRead *read)
{
	WbcCoalescerMetrics *coalescer = wbc_metrics_coalescer();
	WbcFlightAsk ask = make_ask(read);
	int			none;

	switch (wbc_flight_join(&ask, &none))
	{
		case WBC_JOIN_STARTED:
			wbc_metrics_count(&coalescer->total_requests);
			read->note = "refresh started";
			break;
		case WBC_JOIN_JOINED:
			wbc_metrics_count(&coalescer->total_requests);
			wbc_metrics_count(&coalescer->coalesced_requests);
			read->note = "a refresh is under way";
			break;
		case WBC_JOIN_NOT_NEEDED:
			break;
		case WBC_JOIN_FULL:
			read->note = "no refresh: too many fetches are under way";
			break;
		case WBC_JOIN_NO_WORKER:
			read->note = "no refresh: no worker serves this database";
			break;
	}
}

/*
 * The flight that was made is this client's to carry out.
 */
static void
take_lease(WbcRead *read)
{
	read->lease = wbc_flight_lease(read->flight);
	wbc_flight_leave(read->flight);
	read->flight = -1;
}

/*
 * Takes the lease of a stale value, if it is to be had.
 */
static void
try_lease(WbcRead *read)
{
	WbcFlightAsk ask = make_ask(read);
	WbcStamp	stamp;

	wbc_endpoint_stamp(&read->key, &read->route, &stamp);
	wbc_stamp_take(&read->key, &stamp);
	ask.stamp = &stamp;
	ask.will_wait = true;
	switch (wbc_flight_join(&ask, &read->flight))
	{
		case WBC_JOIN_STARTED:
			take_lease(read);
			break;
		case WBC_JOIN_JOINED:
			wbc_flight_leave(read->flight);
			read->flight = -1;
			break;
		case WBC_JOIN_NOT_NEEDED:
		case WBC_JOIN_FULL:
		case WBC_JOIN_NO_WORKER:
			break;
	}
}

static void
answer_stale(WbcRead *read, const WbcFound *found, TimestampTz now)
{
	bool		refresh = source_of(read) != WBC_SOURCE_NONE &&
		wbc_memory_claim_refresh(found->entry, now, now + REFRESH_CLAIM);

	read->status = WBC_STATUS_STALE;
	take_value(read, found->pointer, now, true);
	read->ttl = Min(read->ttl, 0);	/* what was invalidated may have time left */
	wbc_metrics_count(&counters(read)->stale);
	if (refresh)
		ask_for_refresh(read);
	else if (source_of(read) != WBC_SOURCE_NONE)
		read->note = "a refresh is under way or was tried a moment ago";
	else if (read->lease_time > 0)
		try_lease(read);
}

/*
 * Makes an entry the answer, unless it was judged to be a miss.  Takes over the
 * pin if it does.
 */
static bool
answer_with(WbcRead *read, Look judgement, const WbcFound *found,
			TimestampTz now)
{
	switch (judgement)
	{
		case LOOK_FRESH:
			read->status = WBC_STATUS_HIT;
			take_value(read, found->pointer, now, true);
			wbc_metrics_count(&counters(read)->hits);
			return true;
		case LOOK_STALE:
			answer_stale(read, found, now);
			return true;
		case LOOK_FAILURE:
			take_failure(read, found, now);
			return true;
		case LOOK_MISS:
			break;
	}
	return false;
}

/*
 * Answers from memory if that is possible.
 */
static bool
answer_from_memory(WbcRead *read, TimestampTz now)
{
	WbcFound	found;
	Look		judgement = look(read, now, &found);

	return answer_with(read, judgement, &found, now);
}

/*
 * Answers from the table tier if that is possible; the value is in memory
 * then.
 */
static bool
answer_from_table(WbcRead *read, TimestampTz now)
{
	WbcEntryParts parts;
	WbcTableRow row;
	WbcFound	found;
	Look		judgement;

	if (!wbc_table_find(&read->key, &row) || row.hard_expires_at <= now ||
		!wbc_stamp_is_current(&read->key, &row.stamp))
		return false;

	wbc_table_parts(&read->key, &row, &parts);
	found.pointer = wbc_memory_build(&parts);
	if (!DsaPointerIsValid(found.pointer))
		return false;
	found.entry = wbc_memory_entry(found.pointer);
	(void) wbc_memory_store(found.pointer, false);

	judgement = judge(read, &found, now);
	if (judgement == LOOK_MISS)
		wbc_memory_unpin(found.pointer);
	read->from_table = judgement != LOOK_MISS;
	return answer_with(read, judgement, &found, now);
}

/* ----------------------------------------------------------------
 * Misses
 * ----------------------------------------------------------------
 */

static void
fail_for_want_of_commit(WbcRead *read)
{
	wbc_error_set(&read->error, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				  "endpoint \"%s\" was changed by this transaction",
				  NameStr(read->route.endpoint->name));
	wbc_error_detail(&read->error,
					 "Values are fetched by definitions that are committed.");
	wbc_error_hint(&read->error, "Commit before reading its keys.");
	mark_failed(read);
}

/*
 * Finds out whether the cache can be believed for this read.  Returns whether
 * it was this transaction that has invalidated the key.
 */
static bool
find_bypass(WbcRead *read)
{
	WbcStamp	stamp;
	bool		own;

	if (OidIsValid(read->loader))
		wbc_generation_stamp_private(&read->key, &stamp);
	else
		wbc_endpoint_stamp(&read->key, &read->route, &stamp);
	wbc_stamp_take(&read->key, &stamp);

	own = wbc_pending_touches(&read->key, stamp.n, stamp.stripe) ||
		wbc_pending_value(&read->key) != NULL;
	read->bypass = own || wbc_generation_stamp_in_progress(&stamp);
	if (own)
		read->note = "this transaction has invalidated it";
	else if (read->bypass)
		read->note = "an invalidation is being committed";
	return own;
}

/*
 * Answers a read of a key that this transaction has itself invalidated: with
 * what it has set since, or what the loader makes of its changes.
 */
static bool
answer_from_transaction(WbcRead *read)
{
	const WbcPendingValue *pending = wbc_pending_value(&read->key);

	if (pending != NULL)
	{
		read->value = cstring_to_text_with_len(pending->value,
											   pending->value_len);
		read->ttl = pending->soft_ttl;
		read->note = "set by this transaction";
	}
	else if (source_of(read) == WBC_SOURCE_LOADER)
	{
		read->value = wbc_load_in_transaction(&read->key, &read->route,
											  read->loader);
		read->note = "this transaction has invalidated it; its loader ran here, and nothing was stored";
	}
	else
		return false;

	read->status = WBC_STATUS_BYPASS;
	wbc_metrics_count(&counters(read)->bypasses);
	return true;
}

/*
 * The cache has nothing for this read.  Answers it if no flight is needed for
 * that; else it is known now which flights may be joined.
 */
static bool
answer_without_flight(WbcRead *read)
{
	if (find_bypass(read) && answer_from_transaction(read))
		return true;
	if (!read->bypass && answer_from_table(read, read->asked_at))
		return true;
	if (source_of(read) != WBC_SOURCE_NONE && read->route.endpoint->uncommitted)
	{
		fail_for_want_of_commit(read);
		return true;
	}
	return false;
}

/*
 * There is no value, and nowhere to get one from.
 */
static void
answer_nothing(WbcRead *read)
{
	read->status = read->bypass ? WBC_STATUS_BYPASS : WBC_STATUS_MISS;
	if (!read->bypass)
		read->note = "the endpoint has no source; nothing was set";
	wbc_metrics_count(read->bypass ? &counters(read)->bypasses :
					  &counters(read)->misses);
}

/*
 * Between this reader's look and its call of wbc_flight_join() a flight may
 * have landed.  Called under the flight lock; doesn't throw.
 */
static bool
look_again(void *arg)
{
	const WbcRead *read = arg;
	WbcFound	found;

	if (look(read, read->asked_at, &found) == LOOK_MISS)
		return true;
	wbc_memory_unpin(found.pointer);
	return false;
}

/*
 * Nobody serves this database.  If a fetcher is about to, returns true.
 */
static bool
expect_worker(void)
{
	if (!wbc_guc_lists_database(get_database_name(MyDatabaseId)) ||
		!wbc_flight_reserve_lane(MyDatabaseId))
		return false;
	wbc_worker_wake_launcher();
	return true;
}

static void
fail_for_want_of_room(WbcRead *read)
{
	wbc_error_set(&read->error, WBC_ERRCODE_TOO_MANY_FLIGHTS,
				  "too many fetches are under way");
	wbc_error_hint(&read->error, "Try again, or raise wbcache.max_flights.");
	mark_failed(read);
}

static void
fail_for_want_of_worker(WbcRead *read)
{
	wbc_error_set(&read->error, WBC_ERRCODE_NO_WORKER,
				  "no wbcache worker serves this database");
	wbc_error_hint(&read->error,
				   "Add the database to wbcache.databases and reload the configuration.");
	mark_failed(read);
}

/*
 * Joins or makes the flight that will answer this read, or finds that memory
 * can answer it after all, or fails.
 */
static void
board(WbcRead *read)
{
	WbcCoalescerMetrics *coalescer = wbc_metrics_coalescer();
	WbcFlightAsk ask = make_ask(read);
	WbcStamp	stamp;

	if (ask.carrier == WBC_CARRIER_CLIENT)
	{
		wbc_endpoint_stamp(&read->key, &read->route, &stamp);
		wbc_stamp_take(&read->key, &stamp);
		ask.stamp = &stamp;
	}
	ask.will_wait = true;
	ask.must_start_later = read->bypass;
	ask.arg = read;
	for (int round = 0;; round++)
	{
		ask.still_needed = read->bypass || round >= ROUNDS_MAX ? NULL : look_again;
		switch (wbc_flight_join(&ask, &read->flight))
		{
			case WBC_JOIN_STARTED:
				if (ask.carrier == WBC_CARRIER_CLIENT)
				{
					take_lease(read);
					answer_nothing(read);
					return;
				}
				read->started_flight = true;
				wbc_metrics_count(&coalescer->total_requests);
				wbc_metrics_wait_begins();
				return;
			case WBC_JOIN_JOINED:
				wbc_metrics_count(&coalescer->total_requests);
				wbc_metrics_count(&coalescer->coalesced_requests);
				wbc_metrics_wait_begins();
				return;
			case WBC_JOIN_NOT_NEEDED:
				if (answer_from_memory(read, read->asked_at))
					return;
				if (ask.join_only || read->bypass || round >= ROUNDS_MAX)
				{
					answer_nothing(read);
					return;
				}
				break;
			case WBC_JOIN_NO_WORKER:
				if (round < ROUNDS_MAX && expect_worker())
					break;
				fail_for_want_of_worker(read);
				return;
			case WBC_JOIN_FULL:
				fail_for_want_of_room(read);
				return;
		}
	}
}

static void
fail_to_land(WbcRead *read, TimestampTz now)
{
	WbcError   *error = &read->error;
	TimestampTz took_off_at = wbc_flight_took_off_at(read->flight);

	if (source_of(read) == WBC_SOURCE_NONE)
		wbc_error_set(error, WBC_ERRCODE_WAIT_TIMEOUT,
					  "no value from the holder of the lease within %d ms",
					  wbc_guc_max_wait);
	else if (source_of(read) == WBC_SOURCE_SERVER)
		wbc_error_set(error, WBC_ERRCODE_WAIT_TIMEOUT,
					  "no answer from server \"%s\" within %d ms",
					  NameStr(read->route.endpoint->server), wbc_guc_max_wait);
	else
		wbc_error_set(error, WBC_ERRCODE_WAIT_TIMEOUT,
					  "no answer from the loader within %d ms",
					  wbc_guc_max_wait);
	if (took_off_at != 0)
		wbc_error_detail(error, "The fetch has been under way for %ld ms.",
						 TimestampDifferenceMilliseconds(took_off_at, now));
	else
		wbc_error_detail(error, "The fetch has not started yet.");
	wbc_error_hint(error, "Try again: the fetch goes on. To wait longer, raise wbcache.max_wait.");
	mark_failed(read);
}

static void
count_arrival(WbcRead *read)
{
	if (read->bypass)
	{
		read->status = WBC_STATUS_BYPASS;
		wbc_metrics_count(&counters(read)->bypasses);
	}
	else if (read->started_flight)
	{
		read->status = WBC_STATUS_MISS;
		wbc_metrics_count(&counters(read)->misses);
	}
	else
	{
		read->status = WBC_STATUS_COLLAPSED;
		wbc_metrics_count(&counters(read)->collapsed);
	}
}

static void
leave(WbcRead *read)
{
	wbc_flight_leave(read->flight);
	read->flight = -1;
	wbc_metrics_wait_ends(read->waited);
}

/*
 * Waits for the flight this read is on, and takes its result.
 */
static void
arrive(WbcRead *read)
{
	bool		landed = wbc_flight_wait(read->flight, read->deadline);
	TimestampTz now = GetCurrentTimestamp();

	read->waited = now - read->asked_at;
	if (!landed)
		fail_to_land(read, now);
	else
	{
		const WbcFlightResult *result = wbc_flight_result(read->flight);

		if (result->failed &&
			result->error.sqlstate == WBC_ERRCODE_LEASE_LOST)
		{
			read->lease_lost = true;
			answer_nothing(read);
		}
		else if (result->failed)
		{
			read->error = result->error;
			mark_failed(read);
		}
		else
		{
			take_value(read, result->value, now, false);
			count_arrival(read);
		}
	}
	leave(read);
}

typedef struct Group
{
	WbcRead   **reads;
	int			n;
} Group;

/*
 * Cleanup of an error or of the end of the session: leaves all flights that
 * were not left yet.
 */
static void
leave_all(int code, Datum arg)
{
	Group	   *group = (Group *) DatumGetPointer(arg);

	for (int i = 0; i < group->n; i++)
		if (group->reads[i]->flight >= 0)
		{
			wbc_metrics_count(&counters(group->reads[i])->errors);
			leave(group->reads[i]);
		}
}

/*
 * Answers a read from memory.  Returns false when it can't be.
 */
bool
wbc_swr_look(WbcRead *read)
{
	return answer_from_memory(read, read->asked_at);
}

/*
 * Answers n reads for which wbc_swr_look() returned false.  What they need is
 * fetched side by side, within one wbcache.max_wait.  Failed reads are marked;
 * throws only what comes from outside, such as cancel.
 */
void
wbc_swr_fly(WbcRead **reads, int n)
{
	Group		group = {reads, n};

	PG_ENSURE_ERROR_CLEANUP(leave_all, PointerGetDatum(&group));
	{
		for (int i = 0; i < n; i++)
			if (!answer_without_flight(reads[i]))
				board(reads[i]);
		for (int i = 0; i < n; i++)
			if (reads[i]->flight >= 0)
				arrive(reads[i]);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_all, PointerGetDatum(&group));
}
