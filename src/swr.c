/*-------------------------------------------------------------------------
 *
 * swr.c
 *	  The read path: fresh from memory, or stale while it is refreshed.
 *
 * Layer 4.  Called by the SQL functions in read.c.  What memory can't answer is
 * the business of swr_miss.c.
 *
 * A read holds at most one pin and takes at most one lock at a time, but for
 * wbc_swr_look_again() and wbc_swr_is_not_fresh(), which run under the flight
 * lock.  What was pinned is copied and unpinned before anything can throw.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "call.h"
#include "flight.h"
#include "guc.h"
#include "key.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "stamp.h"
#include "swr.h"
#include "swr_parts.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * For so long nobody else asks for a refresh that one reader has asked for.
 * It is only to spare stale readers the flight table; should the request get
 * lost, another one is made after this time.
 */
#define REFRESH_CLAIM	(1 * USECS_PER_SEC)

/* See wbc_swr_keep_memory(). */
#define KEPT_LEAST		32768
#define KEPT_MOST		1048576
#define KEPT_COPIES		4

/* What a look into the memory tier says. */
typedef enum Look
{
	LOOK_FRESH,
	LOOK_STALE,
	LOOK_MISS,
	LOOK_FAILURE				/* the fetch failed a moment ago */
} Look;

/*
 * From here on a hit takes its time, if it is one that is timed.
 */
static inline void
begin_timing(WbcRead *read)
{
	static uint32 reads = 0;

	read->timed = ++reads % WBC_METRICS_HIT_SAMPLE == 0;
	if (unlikely(read->timed))
		INSTR_TIME_SET_CURRENT(read->began);
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
	read->failed_lately = false;
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
	begin_timing(read);
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
	if (wbc_swr_source(read) != WBC_SOURCE_NONE)
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

	begin_timing(read);
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
 * Which of these stripes, of an entry or a row, says that it was made for the
 * endpoint that the key belongs to now?  It is among the first four; see
 * wbc_endpoint_stamp().  -1: none.
 */
static int
find_endpoint(int n, const uint32 *stripes, const WbcEndpoint *endpoint)
{
	int			i = Min(4, n) - 1;

	while (i >= 0 && stripes[i] != endpoint->stripe)
		i--;
	return i;
}

/*
 * Is a value with these stripes for this read, and did its transaction not
 * invalidate it?
 */
bool
wbc_swr_is_for(const WbcRead *read, int n, const uint32 *stripes)
{
	return find_endpoint(n, stripes, read->route.endpoint) >= 0 &&
		!wbc_pending_touches(&read->key, n, stripes);
}

/* The entry was made for an endpoint of this stripe; was it for this one? */
static bool
is_since_renewal(const WbcEntry *entry, const WbcEndpoint *endpoint)
{
	int			i = find_endpoint(entry->nstripes, wbc_entry_stripes(entry), endpoint);

	return wbc_generation_is_since_renewal(endpoint->stripe, entry->seen[i]);
}

static Look
judge(const WbcRead *read, const WbcFound *found, TimestampTz now)
{
	const WbcEntry *entry = found->entry;
	bool		current;

	if (wbc_entry_hard_expires_at(entry) <= now ||
		!wbc_swr_is_for(read, entry->nstripes, wbc_entry_stripes(entry)))
		return LOOK_MISS;

	current = wbc_entry_is_current(entry);
	if (entry->kind == WBC_ENTRY_ERROR)
		return current ? LOOK_FAILURE : LOOK_MISS;
	if (current)
		return entry->soft_expires_at > now ? LOOK_FRESH : LOOK_STALE;

	switch (read->route.endpoint->on_invalidate)
	{
		case WBC_ON_INVALIDATE_EXPIRE:
			if (is_since_renewal(entry, read->route.endpoint))
				return LOOK_STALE;
			break;
		case WBC_ON_INVALIDATE_REMOVE:
			break;
	}
	return LOOK_MISS;
}

/*
 * Looks the key up; is_use: for somebody who has asked for it.  Unless the answer
 * is LOOK_MISS, the entry found is pinned for the caller.  Doesn't throw.
 */
static inline Look
look(const WbcRead *read, TimestampTz now, bool is_use, WbcFound *found)
{
	Look		answer;

	if (!(is_use ? wbc_memory_find(&read->key, found) :
		  wbc_memory_peek(&read->key, found)))
		return LOOK_MISS;

	answer = judge(read, found, now);
	if (answer == LOOK_MISS)
		wbc_memory_unpin(found->pointer);
	return answer;
}

/*
 * Has malloc() keep the memory of large answers, of so many bytes, from one read to
 * the next.  Doesn't throw.
 *
 * A value is copied by us, by its output function and into the message to the
 * client.  All of that is freed when the query ends, and glibc would give it back
 * to the kernel, so that each read had to pay for fresh pages, which takes longer
 * than the rest of it.  But glibc keeps twice the size of the largest block that
 * was ever mapped by itself and freed again (mallopt(3), M_MMAP_THRESHOLD).  So
 * one is, once; it costs nothing, as nobody touches it.
 */
void
wbc_swr_keep_memory(Size len)
{
	static Size kept_for = 0;
	void	   *block;

	len = Min(len, KEPT_MOST);
	if (len < KEPT_LEAST || len <= kept_for)
		return;
	block = MemoryContextAllocExtended(TopMemoryContext, KEPT_COPIES * len,
									   MCXT_ALLOC_NO_OOM);
	if (block != NULL)
		pfree(block);
	kept_for = len;
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
	if (unlikely(entry->value_len >= KEPT_LEAST))
		wbc_swr_keep_memory(entry->value_len);
	SET_VARSIZE(copy, entry->value_len + VARHDRSZ);
	memcpy(VARDATA(copy), wbc_entry_value(entry), entry->value_len);
	read->value = copy;
	return true;
}

/*
 * Makes a pinned value the answer.  Leaves the pin to the caller.
 */
void
wbc_swr_take_value(WbcRead *read, dsa_pointer pointer, TimestampTz now, bool unpin)
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

void
wbc_swr_count_hit(const WbcRead *read)
{
	WbcEndpointMetrics *counters = wbc_swr_counters(read);

	wbc_metrics_count(&counters->hits);
	if (unlikely(read->timed))
	{
		instr_time	took;

		INSTR_TIME_SET_CURRENT(took);
		INSTR_TIME_SUBTRACT(took, read->began);
		wbc_histogram_add(&counters->latency[WBC_OPERATION_HIT],
						  (int64) (INSTR_TIME_GET_DOUBLE(took) * 1e9));
	}
}

/* When all is done that the reader waits for. */
void
wbc_swr_count_stale(const WbcRead *read)
{
	wbc_metrics_count(&wbc_swr_counters(read)->stale);
	wbc_metrics_time(read->route.endpoint->metrics, WBC_OPERATION_STALE,
					 GetCurrentTimestamp() - read->asked_at);
}

/* For a read whose error has just been filled in. */
void
wbc_swr_mark_failed(WbcRead *read)
{
	read->failed = true;
	wbc_metrics_count(&wbc_swr_counters(read)->errors);
}

/*
 * Keeps the error: it is the answer where the table tier has none.
 */
static void
keep_failure(WbcRead *read, const WbcFound *found)
{
	memcpy(&read->error, wbc_entry_value(found->entry), sizeof(WbcError));
	wbc_memory_unpin(found->pointer);
	read->failed_lately = true;
}

/*
 * What a read asks of the flights.
 */
WbcFlightAsk
wbc_swr_ask(const WbcRead *read)
{
	WbcFlightAsk ask = {
		.key = &read->key,
		.now = read->asked_at,
		.ad_hoc.loader = read->loader,
		.ad_hoc.soft_ttl = read->route.endpoint->soft_ttl,
		.ad_hoc.hard_ttl = read->route.endpoint->hard_ttl
	};

	switch (wbc_swr_source(read))
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
	WbcFlightAsk ask = wbc_swr_ask(read);
	int			none;

	if (ask.carrier == WBC_CARRIER_LOADER && wbc_guc_loaders == 0)
	{
		read->note = "no refresh: no process runs SQL loaders";
		return;
	}
	switch (wbc_flight_join(&ask, &none))
	{
		case WBC_JOIN_STARTED:
			wbc_metrics_count(&coalescer->new_requests);
			read->note = "refresh started";
			break;
		case WBC_JOIN_JOINED:
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
void
wbc_swr_take_lease(WbcRead *read)
{
	read->lease = wbc_flight_lease(read->flight);
	wbc_flight_leave(read->flight);
	read->flight = -1;
}

/*
 * Takes the stamp that a lease is to have, or to be joined with.  Returns false
 * while a commit is under way that invalidates it, or has changed the endpoints:
 * what a client computes now could not be stored.
 */
bool
wbc_swr_take_lease_stamp(const WbcRead *read, WbcStamp *stamp)
{
	wbc_endpoint_stamp(&read->key, &read->route, stamp);
	wbc_stamp_take(&read->key, stamp);
	return !wbc_generation_stamp_in_progress(stamp) &&
		(read->lease_time == 0 || wbc_endpoint_is_current());
}

/*
 * Takes the lease of a stale value, if it is to be had.
 */
static void
try_lease(WbcRead *read)
{
	WbcFlightAsk ask = wbc_swr_ask(read);
	WbcStamp	stamp;

	if (!wbc_swr_take_lease_stamp(read, &stamp))
		return;
	ask.stamp = &stamp;
	ask.will_wait = true;
	switch (wbc_flight_join(&ask, &read->flight))
	{
		case WBC_JOIN_STARTED:
			wbc_swr_take_lease(read);
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

/*
 * For a stale answer: lets its value be refreshed.  "claimed" says that this
 * read is the one to ask for that.
 */
void
wbc_swr_see_to_refresh(WbcRead *read, bool claimed)
{
	if (wbc_swr_source(read) != WBC_SOURCE_NONE && claimed)
		ask_for_refresh(read);
	else if (wbc_swr_source(read) != WBC_SOURCE_NONE)
		read->note = "a refresh is under way or was tried a moment ago";
	else if (read->lease_time > 0)
		try_lease(read);
}

static void
answer_stale(WbcRead *read, const WbcFound *found, TimestampTz now)
{
	bool		claimed = wbc_swr_source(read) != WBC_SOURCE_NONE &&
		wbc_memory_claim_refresh(found->entry, now, now + REFRESH_CLAIM);

	read->status = WBC_STATUS_STALE;
	wbc_swr_take_value(read, found->pointer, now, true);
	read->ttl = Min(read->ttl, 0);	/* what was invalidated may have time left */
	wbc_swr_see_to_refresh(read, claimed);
	wbc_swr_count_stale(read);
}

/*
 * Answers a read from memory.  Returns false when it can't be, or when memory
 * has an error only.
 */
bool
wbc_swr_look(WbcRead *read)
{
	TimestampTz now = read->asked_at;
	WbcFound	found;

	switch (look(read, now, true, &found))
	{
		case LOOK_FRESH:
			read->status = WBC_STATUS_HIT;
			wbc_swr_take_value(read, found.pointer, now, true);
			wbc_swr_count_hit(read);
			return true;
		case LOOK_STALE:
			answer_stale(read, &found, now);
			return true;
		case LOOK_FAILURE:
			keep_failure(read, &found);
			break;
		case LOOK_MISS:
			break;
	}
	return false;
}

/*
 * Is the value still not there?  Between a read's look and its call of
 * wbc_flight_join() a flight may have landed.  Called under the flight lock;
 * doesn't throw.
 */
bool
wbc_swr_look_again(void *arg)
{
	const WbcRead *read = arg;
	WbcFound	found;

	if (look(read, read->asked_at, false, &found) == LOOK_MISS)
		return true;
	wbc_memory_unpin(found.pointer);
	return false;
}

/*
 * Takes the value if it is fresh; for a read that is no client's, and is not
 * counted.  Returns false when it isn't, or when memory has an error only.
 */
bool
wbc_swr_take_fresh(WbcRead *read)
{
	WbcFound	found;

	switch (look(read, read->asked_at, false, &found))
	{
		case LOOK_FRESH:
			wbc_swr_take_value(read, found.pointer, read->asked_at, true);
			return true;
		case LOOK_STALE:
			wbc_memory_unpin(found.pointer);
			break;
		case LOOK_FAILURE:
			keep_failure(read, &found);
			break;
		case LOOK_MISS:
			break;
	}
	return false;
}

/*
 * Is there no fresh value yet?  As wbc_swr_look_again(), but a stale one won't
 * do.  Called under the flight lock, too; doesn't throw.
 */
bool
wbc_swr_is_not_fresh(void *arg)
{
	const WbcRead *read = arg;
	WbcFound	found;
	Look		answer = look(read, GetCurrentTimestamp(), false, &found);

	if (answer != LOOK_MISS)
		wbc_memory_unpin(found.pointer);
	return answer != LOOK_FRESH;
}
