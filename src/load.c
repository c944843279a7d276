/*-------------------------------------------------------------------------
 *
 * load.c
 *	  One flight carried out by an SQL loader.
 *
 * Layer 4.  Called by the loader processes, and by a client that has itself
 * invalidated the key it reads.
 *
 * In a loader process: one transaction, with the generations read before its
 * snapshot is taken, and the value published after it has committed.  So only
 * committed data is cached, and never under generations later than the
 * snapshot.  What the loader itself changes and invalidates makes its own
 * value invalid, as it would anybody's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "call.h"
#include "error.h"
#include "flight.h"
#include "key.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "refresh.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

/* For loaders without an endpoint. */
#define AD_HOC_STATEMENT_TIMEOUT	(30 * USECS_PER_SEC)
#define AD_HOC_LOCK_TIMEOUT			(5 * USECS_PER_SEC)

/* What becomes of a flight that a loader process has taken. */
typedef enum Course
{
	COURSE_LOADED,				/* there is a value */
	COURSE_FAILED,				/* there is an error */
	COURSE_HANDED_OVER			/* it is the fetcher's */
} Course;

/*
 * What is wrong where no process runs loaders.
 */
void
wbc_load_no_process(WbcError *error)
{
	wbc_error_set(error, WBC_ERRCODE_NO_WORKER,
				  "no process runs SQL loaders in this database");
	wbc_error_hint(error,
				   "Set wbcache.loaders above 0 and reload the configuration.");
}

/*
 * How the value of a key is made by its endpoint's loader.
 */
static void
call_of_endpoint(const WbcRoute *route, WbcCall *call)
{
	const WbcEndpoint *endpoint = route->endpoint;

	call->function = wbc_call_find(endpoint->loader);
	call->role = endpoint->owner;
	call->parts = &route->parts;
	call->null_is_value = endpoint->null_is_value;
	call->statement_timeout = endpoint->statement_timeout;
	call->lock_timeout = endpoint->lock_timeout;
}

/*
 * The same for a key without an endpoint: its parts are the key's segments.
 */
static void
call_of_key(const WbcKey *key, Oid loader, WbcCall *call, WbcParts *parts)
{
	if (!wbc_pattern_split(key->data, key->len, parts))
	{
		parts->n = 1;
		parts->part[0].start = key->data;
		parts->part[0].len = key->len;
	}
	wbc_call_check_type(loader);
	call->function = loader;
	call->role = key->scope;
	call->parts = parts;
	call->null_is_value = false;
	call->statement_timeout = AD_HOC_STATEMENT_TIMEOUT;
	call->lock_timeout = AD_HOC_LOCK_TIMEOUT;
}

/*
 * Calls the loader in the current transaction, which has itself invalidated
 * the key, and sees what that has changed.  Nothing is stored.
 */
text *
wbc_load_in_transaction(const WbcKey *key, const WbcRoute *route,
						Oid ad_hoc_loader)
{
	WbcParts	parts;
	WbcCall		call;
	text	   *value;

	if (OidIsValid(ad_hoc_loader))
		call_of_key(key, ad_hoc_loader, &call, &parts);
	else
		call_of_endpoint(route, &call);

	PushActiveSnapshot(GetTransactionSnapshot());
	value = wbc_call(&call);
	PopActiveSnapshot();
	return value;
}

/* ----------------------------------------------------------------
 * In a loader process
 * ----------------------------------------------------------------
 */

static text *
call_in_time(const WbcCall *call)
{
	text	   *value;

	wbc_worker_begin_time_limit(call->statement_timeout);
	PushActiveSnapshot(GetTransactionSnapshot());
	value = wbc_call(call);
	PopActiveSnapshot();
	wbc_worker_end_time_limit();
	return value;
}

static void
check_size(const text *value)
{
	if (VARSIZE_ANY_EXHDR(value) > wbc_memory_value_limit())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value is too large to be cached"),
				 errdetail("The loader returned %zu bytes; the limit is %zu.",
						   VARSIZE_ANY_EXHDR(value), wbc_memory_value_limit()),
				 errhint("Let it return less, or raise wbcache.max_value_size (and wbcache.memory_size to at least four times that).")));
}

static void
check_take_off(const WbcRefresh *refresh)
{
	if (!wbc_flight_take_off(refresh->flight, &refresh->stamp,
							 refresh->started_at))
		ereport(ERROR,
				(errcode(WBC_ERRCODE_UPSTREAM_FAILED),
				 errmsg("the load was given up: its worker has ended too often"),
				 errhint("Look into the server log for the reason, and try again.")));
	wbc_metrics_count(&wbc_metrics_coalescer()->upstream_calls);
}

/*
 * The transaction in which the value is made.  Returns it in the given
 * context; NULL when the flight is not for a loader.  Throws.
 */
static text *
load(WbcRefresh *refresh, const WbcAdHoc *ad_hoc, MemoryContext context)
{
	WbcParts	parts;
	WbcRoute	route;
	WbcCall		call;
	text	   *value;

	if (OidIsValid(ad_hoc->loader))
	{
		wbc_refresh_ad_hoc(refresh, ad_hoc);
		call_of_key(refresh->key, ad_hoc->loader, &call, &parts);
	}
	else
	{
		wbc_refresh_route(refresh, &route);
		switch (wbc_endpoint_source(route.endpoint))
		{
			case WBC_SOURCE_SERVER:
				return NULL;
			case WBC_SOURCE_NONE:
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("endpoint \"%s\" has neither an upstream nor a loader",
								NameStr(route.endpoint->name)),
						 errhint("Give it one with wbcache.alter_endpoint().")));
				break;
			case WBC_SOURCE_LOADER:
				call_of_endpoint(&route, &call);
				break;
		}
	}
	check_take_off(refresh);
	value = call_in_time(&call);
	check_size(value);

	MemoryContextSwitchTo(context);
	return (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(value));
}

static Course
try_load(WbcRefresh *refresh, MemoryContext context, text **value,
		 WbcError *error)
{
	const WbcAdHoc *ad_hoc = wbc_flight_ad_hoc(refresh->flight);
	volatile Course course = COURSE_FAILED;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();	/* what now() says */
		StartTransactionCommand();
		*value = load(refresh, ad_hoc, context);
		CommitTransactionCommand();
		course = *value != NULL ? COURSE_LOADED : COURSE_HANDED_OVER;
	}
	PG_CATCH();
	{
		wbc_worker_end_time_limit();
		MemoryContextSwitchTo(context);
		wbc_error_catch(error);
		AbortCurrentTransaction();
	}
	PG_END_TRY();

	/* A loader may have taken advisory locks for the session. */
	LockReleaseSession(USER_LOCKMETHOD);
	MemoryContextSwitchTo(TopMemoryContext);
	return course;
}

/*
 * The loader has run: publishes the value, or the error where it is NULL.
 */
static void
finish(const WbcRefresh *refresh, const text *value, WbcError *error,
	   TimestampTz now)
{
	WbcBody		body = {.etag = "", .last_modified = ""};
	WbcKey		key;
	bool		good = false;

	wbc_key_copy(&key, refresh->key);
	wbc_metrics_time(refresh->metrics, WBC_OPERATION_LOAD,
					 now - refresh->started_at);
	if (value != NULL)
	{
		body.data = VARDATA(value);
		body.len = VARSIZE(value) - VARHDRSZ;
		good = wbc_refresh_publish(refresh, &body, error, now);
	}
	if (good)
		wbc_refresh_log_success(refresh, &key, NULL, now);
	else
	{
		wbc_refresh_fail(refresh, error, now);
		wbc_refresh_log_failure(refresh, &key, NULL, error, now);
	}
}

/*
 * Carries a flight out, in a loader process.  It has landed or is in other
 * hands afterwards.
 */
void
wbc_load_flight(int flight, TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "wbcache load",
												  ALLOCSET_DEFAULT_SIZES);
	WbcRefresh	refresh;
	WbcError	error;
	text	   *value = NULL;
	Course		course;

	wbc_refresh_begin(&refresh, flight, now);
	course = try_load(&refresh, context, &value, &error);
	now = GetCurrentTimestamp();
	if (course == COURSE_HANDED_OVER)
		wbc_flight_hand_over(flight, WBC_CARRIER_FETCHER);
	else
		finish(&refresh, course == COURSE_LOADED ? value : NULL, &error, now);
	MemoryContextDelete(context);
}
