/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  From the end of a fetch to everyone who wants its result.
 *
 * Layer 4.  Called by the fetcher and the loaders, once a flight, with one of
 * these ends:
 *
 *		publish		a new value
 *		redate		the upstream said that the old value is still good
 *		fail		no value: what there is stays, and lives longer
 *		give_up		it has never begun: nothing is known of the source
 *
 * The order is always the same: the memory tier first, then the flight.  A
 * reader who finds no flight can be sure that the result of the last one is
 * in memory, if it is to be had at all.  The ends throw nothing.  A value for
 * which there is no memory is a failure: publish and redate say so, and leave it
 * to the caller to fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "compat.h"
#include "error.h"
#include "flight.h"
#include "mb/pg_wchar.h"
#include "memory.h"
#include "metrics.h"
#include "refresh.h"
#include "stamp.h"

/* What holds for values without an endpoint. */
#define AD_HOC_MAX_STALE	USECS_PER_DAY
#define AD_HOC_ERROR_TTL	USECS_PER_SEC

/*
 * Starts on a flight.  Nothing is known yet of what it is subject to.
 */
void
wbc_refresh_begin(WbcRefresh *refresh, int flight, TimestampTz now)
{
	memset(refresh, 0, sizeof(WbcRefresh));
	refresh->flight = flight;
	refresh->key = wbc_flight_key(flight);
	refresh->base = InvalidDsaPointer;
	refresh->asked_at = wbc_flight_asked_at(flight);
	refresh->started_at = now;
}

/*
 * Copies what the endpoint says, so that it may change while the fetch runs.
 */
static void
copy_rules(WbcRefresh *refresh, const WbcEndpoint *endpoint)
{
	refresh->soft_ttl = endpoint->soft_ttl;
	refresh->hard_ttl = endpoint->hard_ttl;
	refresh->max_stale = endpoint->max_stale;
	refresh->error_ttl = endpoint->error_ttl;
	refresh->metrics = endpoint->metrics;
	refresh->endpoint = endpoint->name;
	switch (endpoint->on_invalidate)
	{
		case WBC_ON_INVALIDATE_REMOVE:
			refresh->expire_on_invalidate = false;
			break;
		case WBC_ON_INVALIDATE_EXPIRE:
			refresh->expire_on_invalidate = true;
			break;
	}
}

/*
 * For the worker that finds no endpoint; its users may not see what others
 * have, so there is no hint at another pattern.
 */
static void
report_gone(const WbcKey *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the endpoint of key \"%.*s\" does not exist any more",
					pg_mbcliplen(key->data, key->len, 120), key->data),
			 errhint("Check the key, or make an endpoint for it with wbcache.create_endpoint().")));
}

/*
 * Finds the key's endpoint and reads the generations.  If the endpoints changed
 * before these were read, they are looked at again.  Needs a transaction; throws
 * when there is no endpoint, or when they don't come to rest.
 */
void
wbc_refresh_route(WbcRefresh *refresh, WbcRoute *route)
{
	for (int round = 1;; round++)
	{
		wbc_endpoint_prepare();
		if (!wbc_endpoint_route(refresh->key, route))
			report_gone(refresh->key);
		wbc_endpoint_stamp(refresh->key, route, &refresh->stamp);
		wbc_stamp_take(refresh->key, &refresh->stamp);
		if (wbc_endpoint_is_current())
		{
			copy_rules(refresh, route->endpoint);
			return;
		}
		wbc_endpoint_not_at_rest(round);
	}
}

/*
 * The same for a flight without an endpoint.
 */
void
wbc_refresh_ad_hoc(WbcRefresh *refresh, const WbcAdHoc *ad_hoc)
{
	refresh->soft_ttl = ad_hoc->soft_ttl;
	refresh->hard_ttl = ad_hoc->hard_ttl;
	refresh->max_stale = Max(AD_HOC_MAX_STALE, ad_hoc->hard_ttl);
	refresh->error_ttl = AD_HOC_ERROR_TTL;
	wbc_generation_stamp_private(refresh->key, &refresh->stamp);
	wbc_generation_stamp_take(&refresh->stamp);
}

/*
 * What is wrong with a body that should be JSON in the database's encoding;
 * NULL when nothing is.  May throw on absurd nesting.
 */
const char *
wbc_refresh_check_body(const char *data, Size len)
{
	JsonLexContext *lex;
	JsonParseErrorType result;

	if (len == 0)
		return "the body is empty";
	if (memchr(data, '\0', len) != NULL)
		return "the body contains a zero byte";
	if (!pg_verify_mbstr(GetDatabaseEncoding(), data, len, true))
		return "the body is not valid in the database's encoding";

	lex = wbc_compat_json_lexer(unconstify(char *, data), len);
	result = pg_parse_json(lex, &nullSemAction);
	return result == JSON_SUCCESS ? NULL : "the body is not valid JSON";
}

/*
 * Stores a value in the memory tier, unless it was invalidated meanwhile, and
 * lands the flight with it either way: its waiters came before that.  Returns
 * false, with the error, when there is no room for it: that is a failure then.
 */
static bool
land_value(const WbcRefresh *refresh, WbcEntryParts *parts, WbcError *error,
		   TimestampTz now)
{
	WbcFlightResult result = {.failed = false};

	parts->key = refresh->key;
	parts->stamp = &refresh->stamp;
	parts->kind = WBC_ENTRY_VALUE;
	parts->source = refresh->source;
	parts->cached_at = now;
	parts->fetch_started = refresh->started_at;
	parts->fetch_us = now - refresh->started_at;
	parts->soft_expires_at = now + refresh->soft_ttl;
	parts->hard_expires_at = now + refresh->hard_ttl;

	result.value = wbc_memory_build(parts);
	if (!DsaPointerIsValid(result.value))
	{
		wbc_error_set(error, ERRCODE_OUT_OF_MEMORY,
					  "no room in the cache's memory for a value");
		wbc_error_detail(error, "The value has %u bytes.", parts->value_len);
		wbc_error_hint(error, "Raise wbcache.memory_size and restart the server.");
		return false;
	}
	(void) wbc_memory_store(result.value, true);
	wbc_metrics_count(&wbc_metrics_endpoint(refresh->metrics)->refresh_successes);
	wbc_metrics_time(refresh->metrics, WBC_OPERATION_REFRESH,
					 now - refresh->asked_at);
	wbc_flight_land(refresh->flight, &result);
	return true;
}

static void
set_validators(WbcEntryParts *parts, const char *etag, const char *last_modified)
{
	parts->etag = etag;
	parts->etag_len = Min(strlen(etag), WBC_VALIDATOR_MAX);
	parts->last_modified = last_modified;
	parts->modified_len = Min(strlen(last_modified), WBC_VALIDATOR_MAX);
}

/*
 * The fetch brought a body, which wbc_refresh_check_body() has found good.
 */
bool
wbc_refresh_publish(const WbcRefresh *refresh, const WbcBody *body,
					WbcError *error, TimestampTz now)
{
	WbcEntryParts parts = {.value = body->data, .value_len = body->len};

	set_validators(&parts, body->etag, body->last_modified);
	return land_value(refresh, &parts, error, now);
}

/*
 * The upstream said 304: the base's value is good as of now.  Validators that
 * came along replace the old ones (RFC 9110, 15.4.5).
 */
bool
wbc_refresh_redate(const WbcRefresh *refresh, const WbcBody *validators,
				   WbcError *error, TimestampTz now)
{
	const WbcEntry *base = wbc_memory_entry(refresh->base);
	WbcEntryParts parts = {
		.value = wbc_entry_value(base),
		.value_len = base->value_len,
		.etag = wbc_entry_etag(base),
		.etag_len = base->etag_len,
		.last_modified = wbc_entry_last_modified(base),
		.modified_len = base->modified_len
	};

	if (validators->etag[0] != '\0' || validators->last_modified[0] != '\0')
		set_validators(&parts, validators->etag, validators->last_modified);
	return land_value(refresh, &parts, error, now);
}

/*
 * Remembers a failure for the endpoint's error_ttl, where there is no value
 * that could be served instead.
 */
static void
remember_failure(const WbcRefresh *refresh, const WbcError *error,
				 TimestampTz now)
{
	WbcEntryParts parts = {
		.key = refresh->key,
		.stamp = &refresh->stamp,
		.kind = WBC_ENTRY_ERROR,
		.value = error,
		.value_len = sizeof(WbcError),
		.cached_at = now,
		.soft_expires_at = now + refresh->error_ttl,
		.hard_expires_at = now + refresh->error_ttl,
		.fetch_started = refresh->started_at
	};
	dsa_pointer pointer = wbc_memory_build(&parts);

	if (!DsaPointerIsValid(pointer))
		return;
	(void) wbc_memory_store(pointer, false);
	wbc_memory_unpin(pointer);
}

/*
 * The fetch brought nothing, or was refused.  A value that is still served
 * lives 50 % of its hard TTL longer, within max_stale.
 */
void
wbc_refresh_fail(const WbcRefresh *refresh, const WbcError *error,
				 TimestampTz now)
{
	WbcFlightResult result = {.failed = true};
	bool		extended;

	extended = wbc_memory_extend(refresh->key, refresh->hard_ttl / 2,
								 refresh->max_stale,
								 refresh->expire_on_invalidate, now,
								 now + refresh->error_ttl);
	if (!extended && refresh->error_ttl > 0)
		remember_failure(refresh, error, now);

	wbc_metrics_count(&wbc_metrics_endpoint(refresh->metrics)->refresh_failures);
	wbc_metrics_time(refresh->metrics, WBC_OPERATION_REFRESH,
					 now - refresh->asked_at);
	result.error = *error;
	wbc_flight_land(refresh->flight, &result);
}

/*
 * The fetch was not made, and nobody but its waiters needs to know.
 */
void
wbc_refresh_give_up(const WbcRefresh *refresh, const WbcError *error)
{
	WbcFlightResult result = {.failed = true, .error = *error};

	wbc_flight_land(refresh->flight, &result);
}
