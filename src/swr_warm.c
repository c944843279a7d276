/*-------------------------------------------------------------------------
 *
 * swr_warm.c
 *	  The read path for values that no client has asked for.
 *
 * Layer 4, a part of swr.c.
 *
 * As a client's read, in two steps, so that the caller can wait outside of any
 * snapshot: after the first the caller may hold a reference to a flight in
 * advance, which it must give back by the second one, or by wbc_flight_leave().
 * The second looks at nothing that ends with the transaction of the first.
 * Nothing is counted as a read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "flight.h"
#include "guc.h"
#include "memory.h"
#include "metrics.h"
#include "swr.h"
#include "swr_parts.h"
#include "utils/timestamp.h"

static WbcWarm
fail(WbcRead *read, int sqlstate, const char *message, const char *hint)
{
	read->failed = true;
	wbc_error_set(&read->error, sqlstate, "%s", message);
	wbc_error_hint(&read->error, "%s", hint);
	return WBC_WARM_FAILED;
}

static WbcWarm
board(WbcRead *read)
{
	WbcFlightAsk ask = wbc_swr_ask(read);

	ask.in_advance = true;
	ask.will_wait = true;
	ask.still_needed = wbc_swr_is_not_fresh;
	ask.arg = read;
	switch (wbc_flight_join(&ask, &read->flight))
	{
		case WBC_JOIN_STARTED:
			read->started_flight = true;
			wbc_metrics_count(&wbc_metrics_coalescer()->new_requests);
			return WBC_WARM_STARTED;
		case WBC_JOIN_JOINED:
			wbc_metrics_count(&wbc_metrics_coalescer()->coalesced_requests);
			return WBC_WARM_JOINED;
		case WBC_JOIN_NOT_NEEDED:
			read->asked_at = GetCurrentTimestamp();
			return wbc_swr_take_fresh(read) ? WBC_WARM_FRESH : WBC_WARM_MISSING;
		case WBC_JOIN_FULL:
			return WBC_WARM_MISSING;
		case WBC_JOIN_NO_WORKER:
			break;
	}
	read->failed = true;
	wbc_swr_set_no_worker(&read->error);
	return WBC_WARM_FAILED;
}

/*
 * For a read that was begun: takes the value if it is fresh, in either tier, and
 * else makes or joins a flight, if it may.
 */
WbcWarm
wbc_swr_warm(WbcRead *read, bool may_fly)
{
	if (wbc_swr_take_fresh(read))
		return WBC_WARM_FRESH;
	if (read->failed_lately)
	{
		read->failed = true;
		return WBC_WARM_FAILED;
	}
	if (wbc_swr_promote(read) && wbc_swr_take_fresh(read))
		return WBC_WARM_FRESH;
	if (!may_fly)
		return WBC_WARM_MISSING;
	if (wbc_swr_source(read) == WBC_SOURCE_NONE)
		return fail(read, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the endpoint has neither a server nor a loader",
					"Give it one with wbcache.alter_endpoint().");
	return board(read);
}

/*
 * Waits for the flight that wbc_swr_warm() has boarded, and takes its result.
 */
void
wbc_swr_warm_land(WbcRead *read, TimestampTz deadline)
{
	bool		landed = wbc_flight_wait(read->flight, deadline);
	int			flight = read->flight;
	const WbcFlightResult *result;

	read->waited = GetCurrentTimestamp() - read->asked_at;
	if (!landed)
		(void) fail(read, WBC_ERRCODE_WAIT_TIMEOUT, "no answer in time",
					"Look into wbcache.stat_server for what the upstream does.");
	else
	{
		result = wbc_flight_result(read->flight);
		read->failed = result->failed;
		if (result->failed)
			read->error = result->error;
		else
			wbc_swr_take_value(read, result->value, GetCurrentTimestamp(), false);
	}
	read->flight = -1;
	wbc_flight_leave(flight);
}
