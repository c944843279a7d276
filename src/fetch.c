/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  One fetch over HTTP, from a flight taken to a flight landed.
 *
 * Layer 4.  Called by the fetcher alone.
 *
 *		take		what to fetch, from where, by which rules
 *		ask			may it start now?
 *		launch		the request is sent
 *		finish		the answer is published, or the failure
 *		refuse		it may not start: a failure without a request
 *		abandon		the fetcher ends; its successor starts again
 *
 * Catalogs are read in a transaction that is over before the request starts.
 * The generations are read before the definitions and before the request, so
 * that a value is never published under generations later than what it was
 * made from.  Every fetch ends in exactly one of finish, refuse and abandon,
 * which free it, unless take or launch say that it ended already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "error.h"
#include "fetch.h"
#include "flight.h"
#include "key.h"
#include "mb/pg_wchar.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "stamp.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ----------------------------------------------------------------
 * What to fetch
 * ----------------------------------------------------------------
 */

/*
 * Fills in what the catalogs say.  Called in a transaction; allocates in the
 * fetch's context; throws.  The server is NULL then if the endpoint has none.
 */
static void
describe(WbcFetch *fetch)
{
	StringInfoData url;
	WbcRoute	route;

	wbc_refresh_route(&fetch->refresh, &route);
	fetch->server = NULL;
	if (wbc_endpoint_source(route.endpoint) != WBC_SOURCE_SERVER)
		return;

	fetch->server = wbc_server_load(NameStr(route.endpoint->server),
									route.endpoint->owner);
	initStringInfo(&url);
	appendStringInfoString(&url, fetch->server->base_url);
	wbc_pattern_fill(&route.endpoint->pattern, &route.parts,
					 route.endpoint->path, WBC_FILL_URL, &url);
	fetch->url = url.data;
	fetch->refresh.source =
		hash_bytes_extended((unsigned char *) url.data, url.len, 0);
}

/*
 * describe() in a transaction of its own.  Returns false, with the error, when
 * it threw.
 */
static bool
try_describe(WbcFetch *fetch, WbcError *error)
{
	volatile bool good = false;

	PG_TRY();
	{
		StartTransactionCommand();
		MemoryContextSwitchTo(fetch->context);
		describe(fetch);
		CommitTransactionCommand();
		good = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(fetch->context);
		wbc_error_catch(error);
		AbortCurrentTransaction();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	return good;
}

/* ----------------------------------------------------------------
 * The ends of a fetch
 * ----------------------------------------------------------------
 */

static void
free_fetch(WbcFetch *fetch)
{
	if (DsaPointerIsValid(fetch->refresh.base))
		wbc_memory_unpin(fetch->refresh.base);
	MemoryContextDelete(fetch->context);
}

/* Empty while it is not known. */
static const char *
server_name(const WbcFetch *fetch)
{
	return fetch->server == NULL ? "" : fetch->server->name;
}

static void
fail(WbcFetch *fetch, const WbcError *error, TimestampTz now)
{
	WbcKey		key;

	wbc_key_copy(&key, fetch->refresh.key);
	wbc_refresh_fail(&fetch->refresh, error, now);
	wbc_refresh_log_failure(&fetch->refresh, &key, server_name(fetch), error,
							now);
	free_fetch(fetch);
}

/*
 * The endpoint has no upstream any more: loaders know what to do.
 */
static void
hand_over(WbcFetch *fetch)
{
	wbc_flight_hand_over(fetch->refresh.flight, WBC_CARRIER_LOADER);
	free_fetch(fetch);
}

/*
 * Takes a flight into hand.  Returns NULL when it is in other hands or has
 * landed.
 */
WbcFetch *
wbc_fetch_take(int flight, TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "wbcache fetch",
												  ALLOCSET_SMALL_SIZES);
	WbcFetch   *fetch = MemoryContextAllocZero(context, sizeof(WbcFetch));
	WbcError	error;

	fetch->context = context;
	wbc_refresh_begin(&fetch->refresh, flight, now);
	fetch->upstream = -1;
	fetch->urgency = wbc_flight_urgency(flight);
	fetch->taken_at = now;
	if (!try_describe(fetch, &error))
	{
		fail(fetch, &error, now);
		return NULL;
	}
	if (fetch->server == NULL)
	{
		hand_over(fetch);
		return NULL;
	}
	return fetch;
}

/*
 * Looks how urgent it is.  One in advance that a client has joined waits as if
 * it had been made for that client.
 */
WbcUrgency
wbc_fetch_urgency(WbcFetch *fetch, TimestampTz now)
{
	WbcUrgency	urgency = wbc_flight_urgency(fetch->refresh.flight);

	if (fetch->urgency == WBC_URGENCY_IN_ADVANCE &&
		urgency != WBC_URGENCY_IN_ADVANCE)
		fetch->taken_at = now;
	fetch->urgency = urgency;
	return urgency;
}

/*
 * May it start now?  If not, says when it is worth asking again.
 */
WbcAdmission
wbc_fetch_ask(WbcFetch *fetch, TimestampTz now, TimestampTz *when)
{
	WbcAdmission admission;

	fetch->upstream = wbc_upstream_slot(MyDatabaseId, fetch->server->serverid);
	if (fetch->upstream < 0)
	{
		*when = now;
		return WBC_ADMIT_BUSY;
	}
	admission = wbc_upstream_ask(fetch->upstream, fetch->server,
								 fetch->urgency == WBC_URGENCY_IN_ADVANCE,
								 now, when);
	if ((admission == WBC_ADMIT_RATE_LIMITED || admission == WBC_ADMIT_PAUSED) &&
		!fetch->limited)
	{
		fetch->limited = true;
		wbc_upstream_count_refused(fetch->upstream, admission);
	}
	return admission;
}

/*
 * The fetch may not start.  In advance, that is no failure of the key's: it is
 * not remembered.
 */
void
wbc_fetch_refuse(WbcFetch *fetch, WbcAdmission why, TimestampTz when,
				 TimestampTz now)
{
	const char *name = fetch->server->name;
	const char *reason = NULL;
	WbcError	error;

	switch (why)
	{
		case WBC_ADMIT_GO:
		case WBC_ADMIT_BUSY:
			reason = "all of its connections are in use";
			break;
		case WBC_ADMIT_RATE_LIMITED:
			reason = "its rate limit is used up";
			break;
		case WBC_ADMIT_PAUSED:
			reason = "it has asked to be left alone for a while";
			break;
		case WBC_ADMIT_BREAKER_OPEN:
			reason = "its circuit breaker is open";
			wbc_upstream_count_refused(fetch->upstream, why);
			break;
	}
	wbc_error_set(&error, WBC_ERRCODE_UPSTREAM_UNAVAILABLE,
				  "server \"%s\" is unavailable: %s", name, reason);
	if (when > now)
		wbc_error_detail(&error, "The next try is possible in %ld ms.",
						 TimestampDifferenceMilliseconds(now, when));
	wbc_error_hint(&error, "Try again later; wbcache.stat_server shows the state of the server and its last error.");
	if (fetch->urgency != WBC_URGENCY_IN_ADVANCE)
	{
		fail(fetch, &error, now);
		return;
	}
	wbc_refresh_give_up(&fetch->refresh, &error);
	free_fetch(fetch);
}

/*
 * The fetcher ends: lets go of what it holds in shared memory.  The flight
 * stays as it is, for the next fetcher.
 */
void
wbc_fetch_abandon(WbcFetch *fetch)
{
	free_fetch(fetch);
}

/* ----------------------------------------------------------------
 * The request
 * ----------------------------------------------------------------
 */

/*
 * Pins the entry whose validators make the request conditional, if there is
 * one that came from the same URL.
 */
static const WbcEntry *
find_base(WbcFetch *fetch)
{
	WbcFound	found;

	if (!wbc_memory_peek(fetch->refresh.key, &found))
		return NULL;
	if (found.entry->kind == WBC_ENTRY_VALUE &&
		found.entry->source == fetch->refresh.source &&
		found.entry->etag_len + found.entry->modified_len > 0)
	{
		fetch->refresh.base = found.pointer;
		return found.entry;
	}
	wbc_memory_unpin(found.pointer);
	return NULL;
}

static bool
send(WbcFetch *fetch, WbcHttp *http)
{
	WbcServer  *server = fetch->server;
	const WbcEntry *base = find_base(fetch);
	WbcHttpRequest request = {
		.url = fetch->url,
		.headers = server->headers,
		.ca_file = server->ca_file,
		.timeout_ms = server->timeout_ms,
		.connect_timeout_ms = server->connect_timeout_ms,
		.max_body = wbc_memory_value_limit(),
		.follow_redirects = server->follow_redirects,
		.owner = fetch
	};

	if (base != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fetch->context);

		request.etag = pnstrdup(wbc_entry_etag(base), base->etag_len);
		request.last_modified = pnstrdup(wbc_entry_last_modified(base),
										 base->modified_len);
		MemoryContextSwitchTo(caller);
	}
	return wbc_http_start(http, &request);
}

/*
 * Starts the request.  Returns false when it could not be started; the flight
 * has landed then and the fetch is gone.
 */
bool
wbc_fetch_launch(WbcFetch *fetch, WbcHttp *http, TimestampTz now)
{
	WbcRefresh *refresh = &fetch->refresh;
	WbcError	error;

	/* it may have waited: what was read then may be too old now */
	if (!wbc_stamp_is_current(refresh->key, &refresh->stamp) &&
		!try_describe(fetch, &error))
	{
		fail(fetch, &error, now);
		return false;
	}
	if (fetch->server == NULL)
	{
		hand_over(fetch);
		return false;
	}

	refresh->started_at = now;
	if (!wbc_flight_take_off(refresh->flight, &refresh->stamp, now))
	{
		wbc_error_set(&error, WBC_ERRCODE_UPSTREAM_FAILED,
					  "the fetch was given up: its worker has ended too often");
		wbc_error_hint(&error, "Look into the server log for the reason, and try again.");
		fail(fetch, &error, now);
		return false;
	}

	fetch->upstream = wbc_upstream_slot(MyDatabaseId, fetch->server->serverid);
	wbc_upstream_starts(fetch->upstream, fetch->server, now);
	wbc_metrics_count(&wbc_metrics_coalescer()->upstream_calls);
	if (!send(fetch, http))
	{
		wbc_upstream_ends(fetch->upstream, fetch->server, WBC_UPSTREAM_BROKEN,
						  -1, "out of memory", now);
		wbc_error_set(&error, ERRCODE_OUT_OF_MEMORY,
					  "out of memory for a request");
		fail(fetch, &error, now);
		return false;
	}
	return true;
}

/* ----------------------------------------------------------------
 * The answer
 * ----------------------------------------------------------------
 */

/*
 * Makes the body what the database can take.  JSON comes in UTF-8 (RFC 8259,
 * 8.1).  Returns what is wrong with it, or NULL; may throw.
 */
static const char *
convert_and_check(WbcFetch *fetch, const WbcHttpResponse *response,
				  WbcBody *body)
{
	int			encoding = GetDatabaseEncoding();

	body->data = response->body;
	body->len = response->body_len;
	body->etag = response->etag;
	body->last_modified = response->last_modified;
	if (encoding != PG_UTF8 && encoding != PG_SQL_ASCII && body->len > 0)
	{
		StartTransactionCommand();
		MemoryContextSwitchTo(fetch->context);
		body->data = pg_any_to_server(response->body, response->body_len,
									  PG_UTF8);
		if (body->data != response->body)
			body->len = strlen(body->data);
		CommitTransactionCommand();
		MemoryContextSwitchTo(fetch->context);
	}
	return wbc_refresh_check_body(body->data, body->len);
}

/*
 * Is the body good?  If not, says so in the error.
 */
static bool
accept_body(WbcFetch *fetch, const WbcHttpResponse *response, WbcBody *body,
			WbcError *error)
{
	volatile bool good = false;

	MemoryContextSwitchTo(fetch->context);
	PG_TRY();
	{
		const char *fault = convert_and_check(fetch, response, body);

		good = fault == NULL;
		if (!good)
			wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
						  "server \"%s\" sent no usable value: %s",
						  fetch->server->name, fault);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(fetch->context);
		wbc_error_catch(error);
		if (IsTransactionState())
			AbortCurrentTransaction();
		wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
					  "server \"%s\" sent no usable value: %s",
					  fetch->server->name, pstrdup(error->message));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);

	return good;
}

/* What an HTTP status other than 200 and 304 says of the upstream's health. */
static WbcUpstreamOutcome
judge_status(int status)
{
	if (status == 429)
		return WBC_UPSTREAM_THROTTLED;
	if (status >= 500)
		return WBC_UPSTREAM_BROKEN;
	return WBC_UPSTREAM_REJECTED;
}

static void
describe_status(const WbcFetch *fetch, const WbcHttpResponse *response,
				WbcError *error)
{
	wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
				  "server \"%s\" answered with HTTP status %d",
				  fetch->server->name, response->status);
	if (response->retry_after_us >= 0)
		wbc_error_detail(error, "It asks to be tried again in " INT64_FORMAT " s.",
						 (response->retry_after_us + USECS_PER_SEC - 1) / USECS_PER_SEC);
	if (response->status == 401 || response->status == 403)
		wbc_error_hint(error, "Check the header options of the server's user mapping.");
	else if (response->status == 404)
		wbc_error_hint(error, "Check the key, the endpoint's path and the server's base_url.");
}

/*
 * What a response without a value means: fills in the error, and says what it
 * tells of the upstream's health.
 */
static WbcUpstreamOutcome
judge_failure(const WbcFetch *fetch, const WbcHttpResponse *response,
			  WbcError *error)
{
	const char *name = fetch->server->name;
	WbcUpstreamOutcome outcome = WBC_UPSTREAM_BROKEN;

	switch (response->outcome)
	{
		case WBC_HTTP_OK:
		case WBC_HTTP_NOT_MODIFIED:
			wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
						  "server \"%s\" answered 304 to a request without condition",
						  name);
			break;
		case WBC_HTTP_STATUS:
			describe_status(fetch, response, error);
			outcome = judge_status(response->status);
			break;
		case WBC_HTTP_REDIRECT:
			wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
						  "server \"%s\" redirects (HTTP status %d), which is not followed",
						  name, response->status);
			wbc_error_detail(error, "%s", response->detail);
			wbc_error_hint(error, "Correct base_url, or allow redirects within it: ALTER SERVER ... OPTIONS (ADD follow_redirects 'true').");
			outcome = WBC_UPSTREAM_REJECTED;
			break;
		case WBC_HTTP_TOO_LARGE:
			wbc_error_set(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						  "server \"%s\" sent a body that is too large", name);
			wbc_error_detail(error, "The limit is %zu bytes.",
							 wbc_memory_value_limit());
			wbc_error_hint(error, "Raise wbcache.max_value_size (and wbcache.memory_size to at least four times that).");
			break;
		case WBC_HTTP_TIMEOUT:
			wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
						  "server \"%s\" did not answer in time", name);
			wbc_error_detail(error, "%s", response->detail);
			wbc_error_hint(error, "Check the upstream, or raise the server's timeout option (now %d ms).",
						   fetch->server->timeout_ms);
			break;
		case WBC_HTTP_UNREACHABLE:
			wbc_error_set(error, WBC_ERRCODE_UPSTREAM_FAILED,
						  "server \"%s\" can't be reached", name);
			wbc_error_detail(error, "%s", response->detail);
			wbc_error_hint(error, "Check the server's base_url and the network.");
			break;
	}
	return outcome;
}

/*
 * Counts the end of the request; a line about the breaker says what it was about.
 */
static void
end_request(WbcFetch *fetch, WbcUpstreamOutcome outcome, int64 retry_after_us,
			const char *error, TimestampTz now)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = wbc_refresh_context,
		.arg = &fetch->refresh
	};

	error_context_stack = &context;
	wbc_upstream_ends(fetch->upstream, fetch->server, outcome, retry_after_us,
					  error, now);
	error_context_stack = context.previous;
}

/*
 * The request is over: publishes what it brought.  The fetch is gone then.
 */
void
wbc_fetch_finish(WbcFetch *fetch, const WbcHttpResponse *response,
				 TimestampTz now)
{
	bool		has_base = DsaPointerIsValid(fetch->refresh.base);
	WbcBody		body = {
		.etag = response->etag,
		.last_modified = response->last_modified
	};
	WbcUpstreamOutcome outcome;
	WbcError	error = {0};
	bool		good = false;
	WbcKey		key;

	if (response->outcome == WBC_HTTP_OK)
		outcome = accept_body(fetch, response, &body, &error) ?
			WBC_UPSTREAM_VALUE : WBC_UPSTREAM_BROKEN;
	else if (response->outcome == WBC_HTTP_NOT_MODIFIED && has_base)
		outcome = WBC_UPSTREAM_NOT_MODIFIED;
	else
		outcome = judge_failure(fetch, response, &error);
	end_request(fetch, outcome, response->retry_after_us, error.message, now);
	wbc_key_copy(&key, fetch->refresh.key);
	wbc_metrics_time(fetch->refresh.metrics, WBC_OPERATION_FETCH,
					 now - fetch->refresh.started_at);

	switch (outcome)
	{
		case WBC_UPSTREAM_VALUE:
			good = wbc_refresh_publish(&fetch->refresh, &body, &error, now);
			break;
		case WBC_UPSTREAM_NOT_MODIFIED:
			good = wbc_refresh_redate(&fetch->refresh, &body, &error, now);
			break;
		case WBC_UPSTREAM_REJECTED:
		case WBC_UPSTREAM_THROTTLED:
		case WBC_UPSTREAM_BROKEN:
			break;
	}
	if (!good)
	{
		fail(fetch, &error, now);
		return;
	}
	wbc_refresh_log_success(&fetch->refresh, &key, server_name(fetch), now);
	free_fetch(fetch);
}
