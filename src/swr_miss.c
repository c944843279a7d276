/*-------------------------------------------------------------------------
 *
 * swr_miss.c
 *	  The read path where memory has no answer: the table tier, the
 *	  transaction's own changes, or a wait for a flight.
 *
 * Layer 4, a part of swr.c.
 *
 * Who waits holds a reference to the flight.  All waiting is inside one
 * PG_ENSURE_ERROR_CLEANUP block, so that the reference is given back on
 * errors, cancel, and the end of the session alike; the flight goes on
 * without this reader.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "error.h"
#include "flight.h"
#include "guc.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "stamp.h"
#include "storage/ipc.h"
#include "swr.h"
#include "swr_parts.h"
#include "table.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Rounds of "look, then find it isn't needed" before a flight is insisted on. */
#define ROUNDS_MAX	16

/* What part of all flights one call may be on at a time. */
#define SHARE_OF_ONE	4

/* ----------------------------------------------------------------
 * The table tier
 * ----------------------------------------------------------------
 */

/*
 * Brings a row into memory, if there is room for it.  One that is above the
 * limit of now is no reason to put others out.
 */
static void
promote(const WbcKey *key, const WbcTableRow *row)
{
	WbcEntryParts parts;
	dsa_pointer pointer;

	wbc_table_parts(key, row, &parts);
	if (parts.value_len > wbc_memory_value_limit())
		return;
	pointer = wbc_memory_build(&parts);
	if (!DsaPointerIsValid(pointer))
		return;
	(void) wbc_memory_store(pointer, false);
	wbc_memory_unpin(pointer);
}

/* Has the table tier a row that may be served? */
static bool
find_row(const WbcRead *read, WbcTableRow *row)
{
	return wbc_table_find(&read->key, row) &&
		row->hard_expires_at > read->asked_at &&
		wbc_swr_is_for(read, row->stamp.n, row->stamp.stripe) &&
		wbc_stamp_is_current(&read->key, &row->stamp);
}

/*
 * Brings a fresh value from the table tier into memory.  Returns whether there
 * was one.
 */
bool
wbc_swr_promote(const WbcRead *read)
{
	WbcTableRow row;

	if (!find_row(read, &row) || row.soft_expires_at <= read->asked_at)
		return false;
	promote(&read->key, &row);
	return true;
}

/*
 * Answers from the table tier if that is possible.
 */
static bool
answer_from_table(WbcRead *read)
{
	TimestampTz now = read->asked_at;
	WbcTableRow row;

	if (!find_row(read, &row))
		return false;

	promote(&read->key, &row);
	read->from_table = true;
	read->value = row.value;
	read->age = Max(now - row.cached_at, 0);
	read->ttl = row.soft_expires_at - now;
	if (row.soft_expires_at > now)
	{
		read->status = WBC_STATUS_HIT;
		wbc_swr_count_hit(read);
	}
	else
	{
		read->status = WBC_STATUS_STALE;
		wbc_swr_see_to_refresh(read, !read->failed_lately);
		wbc_swr_count_stale(read);
	}
	return true;
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
	wbc_swr_mark_failed(read);
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
	else if (wbc_swr_source(read) == WBC_SOURCE_LOADER)
	{
		read->value = wbc_load_in_transaction(&read->key, &read->route,
											  read->loader);
		read->note = "this transaction has invalidated it; its loader ran here, and nothing was stored";
	}
	else
		return false;

	read->status = WBC_STATUS_BYPASS;
	wbc_metrics_count(&wbc_swr_counters(read)->bypasses);
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
	if (!read->bypass && answer_from_table(read))
		return true;
	if (read->failed_lately)
	{
		wbc_swr_mark_failed(read);
		return true;
	}
	if (wbc_swr_source(read) != WBC_SOURCE_NONE && read->route.endpoint->uncommitted)
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
	wbc_metrics_count(read->bypass ? &wbc_swr_counters(read)->bypasses :
					  &wbc_swr_counters(read)->misses);
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
	wbc_swr_mark_failed(read);
}

static void
fail_for_want_of_loader(WbcRead *read)
{
	wbc_load_no_process(&read->error);
	wbc_swr_mark_failed(read);
}

void
wbc_swr_set_no_worker(WbcError *error)
{
	wbc_error_set(error, WBC_ERRCODE_NO_WORKER,
				  "no wbcache worker serves this database");
	wbc_error_hint(error,
				   "Add the database to wbcache.databases and reload the configuration.");
}

static void
fail_for_want_of_worker(WbcRead *read)
{
	wbc_swr_set_no_worker(&read->error);
	wbc_swr_mark_failed(read);
}

/*
 * No flight is needed, or may be made.  Returns false when it is to be tried
 * again.
 */
static bool
settle_without_flight(WbcRead *read, bool is_last_try)
{
	if (wbc_swr_look(read))
		return true;
	if (read->failed_lately)
		wbc_swr_mark_failed(read);
	else if (is_last_try)
		answer_nothing(read);
	else
		return false;
	return true;
}

/*
 * Joins or makes the flight that will answer this read, or finds that memory
 * can answer it after all, or fails.
 */
static void
board(WbcRead *read)
{
	WbcCoalescerMetrics *coalescer = wbc_metrics_coalescer();
	WbcFlightAsk ask = wbc_swr_ask(read);
	WbcStamp	stamp;

	if (ask.carrier == WBC_CARRIER_LOADER && wbc_guc_loaders == 0)
	{
		fail_for_want_of_loader(read);
		return;
	}
	if (ask.carrier == WBC_CARRIER_CLIENT)
	{
		if (!wbc_swr_take_lease_stamp(read, &stamp))
		{
			read->bypass = true;
			answer_nothing(read);
			return;
		}
		ask.stamp = &stamp;
	}
	ask.will_wait = true;
	ask.must_start_later = read->bypass;
	ask.arg = read;
	for (int round = 0;; round++)
	{
		ask.still_needed = read->bypass || round >= ROUNDS_MAX ? NULL : wbc_swr_look_again;
		switch (wbc_flight_join(&ask, &read->flight))
		{
			case WBC_JOIN_STARTED:
				if (ask.carrier == WBC_CARRIER_CLIENT)
				{
					wbc_swr_take_lease(read);
					answer_nothing(read);
					return;
				}
				read->started_flight = true;
				wbc_metrics_count(&coalescer->new_requests);
				wbc_metrics_wait_begins();
				return;
			case WBC_JOIN_JOINED:
				wbc_metrics_count(&coalescer->coalesced_requests);
				wbc_metrics_wait_begins();
				return;
			case WBC_JOIN_NOT_NEEDED:
				if (settle_without_flight(read, ask.join_only || read->bypass ||
										  round >= ROUNDS_MAX))
					return;
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

	if (wbc_swr_source(read) == WBC_SOURCE_NONE)
		wbc_error_set(error, WBC_ERRCODE_WAIT_TIMEOUT,
					  "no value from the holder of the lease within %d ms",
					  wbc_guc_max_wait);
	else if (wbc_swr_source(read) == WBC_SOURCE_SERVER)
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
	wbc_swr_mark_failed(read);
}

static void
count_arrival(WbcRead *read)
{
	if (read->bypass)
	{
		read->status = WBC_STATUS_BYPASS;
		wbc_metrics_count(&wbc_swr_counters(read)->bypasses);
	}
	else if (read->started_flight)
	{
		read->status = WBC_STATUS_MISS;
		wbc_metrics_count(&wbc_swr_counters(read)->misses);
	}
	else
	{
		read->status = WBC_STATUS_COLLAPSED;
		wbc_metrics_count(&wbc_swr_counters(read)->collapsed);
	}
}

static void
leave(WbcRead *read, TimestampTz now)
{
	read->waited = now - read->asked_at;
	wbc_flight_leave(read->flight);
	read->flight = -1;
	wbc_metrics_wait_ends(read->waited);
	wbc_metrics_time(read->route.endpoint->metrics, WBC_OPERATION_WAIT,
					 read->waited);
}

/*
 * Waits for the flight this read is on, and takes its result.
 */
static void
arrive(WbcRead *read)
{
	bool		landed = wbc_flight_wait(read->flight, read->deadline);
	TimestampTz now = GetCurrentTimestamp();

	if (!landed)
		fail_to_land(read, now);
	else
	{
		const WbcFlightResult *result = wbc_flight_result(read->flight);

		if (result->failed && wbc_swr_source(read) == WBC_SOURCE_NONE &&
			result->error.sqlstate == WBC_ERRCODE_LEASE_LOST)
		{
			read->lease_lost = true;
			answer_nothing(read);
		}
		else if (result->failed)
		{
			read->error = result->error;
			wbc_swr_mark_failed(read);
		}
		else
		{
			wbc_memory_count_use(result->value);
			wbc_swr_take_value(read, result->value, now, false);
			count_arrival(read);
		}
	}
	leave(read, now);
}

typedef struct Group
{
	WbcRead   **reads;
	int			n;
	int			first;			/* those before it are not on a flight any more */
	int			nflying;
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
			wbc_metrics_count(&wbc_swr_counters(group->reads[i])->errors);
			leave(group->reads[i], GetCurrentTimestamp());
		}
}

/*
 * Waits for a group's flights, in order, until no more than so many are left of
 * those that it has boarded.
 */
static void
arrive_until(Group *group, int left)
{
	for (; group->nflying > left; group->first++)
		if (group->reads[group->first]->flight >= 0)
		{
			arrive(group->reads[group->first]);
			group->nflying--;
		}
}

/*
 * Answers n reads for which wbc_swr_look() returned false.  What they need is
 * fetched side by side, within one wbcache.max_wait, by a part of all flights at
 * a time.  Failed reads are marked; throws only what comes from outside, such as
 * cancel.
 */
void
wbc_swr_fly(WbcRead **reads, int n)
{
	Group		group = {.reads = reads,.n = n};
	int			most = Max(wbc_guc_max_flights / SHARE_OF_ONE, 1);

	PG_ENSURE_ERROR_CLEANUP(leave_all, PointerGetDatum(&group));
	{
		for (int i = 0; i < n; i++)
		{
			if (answer_without_flight(reads[i]))
				continue;
			arrive_until(&group, most - 1);
			board(reads[i]);
			group.nflying += reads[i]->flight >= 0;
		}
		arrive_until(&group, 0);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_all, PointerGetDatum(&group));
}
