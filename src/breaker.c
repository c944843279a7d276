/*-------------------------------------------------------------------------
 *
 * breaker.c
 *	  Circuit breaker and rate limit of one upstream, as plain state
 *	  machines: no clock, no lock, no shared memory of their own.
 *
 * Layer 3.  Transitions of the breaker; whatever is not here changes nothing:
 *
 *	  CLOSED     fails, for the limit'th time in a row      OPEN
 *	  OPEN       starts, at or after retry_at               HALF_OPEN
 *	  HALF_OPEN  succeeds                                   CLOSED
 *	  HALF_OPEN  fails                                      OPEN, whole cooldown
 *	  HALF_OPEN  abandons (the prober died)                 OPEN, probe at once
 *
 * How a request ends that was sent while CLOSED is of no interest once the
 * breaker is OPEN: only a probe closes it.  Half-open there is no way to tell
 * such a late answer from the probe's, so the caller sends the probe when
 * nothing else is in progress.
 *
 * The caller (upstream.c) holds whatever lock guards the structs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "breaker.h"

void
wbc_breaker_init(WbcBreaker *breaker)
{
	breaker->state = WBC_BREAKER_CLOSED;
	breaker->failures = 0;
	breaker->retry_at = 0;
}

/*
 * May a request start now?  If it does, wbc_breaker_starts must follow before
 * anybody asks again.
 */
bool
wbc_breaker_admits(const WbcBreaker *breaker, TimestampTz now)
{
	switch (breaker->state)
	{
		case WBC_BREAKER_CLOSED:
			return true;
		case WBC_BREAKER_OPEN:
			return now >= breaker->retry_at;
		case WBC_BREAKER_HALF_OPEN:
			return false;
	}
	return false;				/* keep compiler quiet */
}

/* An admitted request starts; through an open breaker it is the probe. */
void
wbc_breaker_starts(WbcBreaker *breaker, TimestampTz now)
{
	if (breaker->state == WBC_BREAKER_OPEN)
	{
		breaker->state = WBC_BREAKER_HALF_OPEN;
		breaker->retry_at = now;
	}
}

/* The upstream has answered.  True if that closed the breaker. */
bool
wbc_breaker_succeeds(WbcBreaker *breaker)
{
	if (breaker->state == WBC_BREAKER_OPEN)
		return false;

	breaker->failures = 0;
	if (breaker->state == WBC_BREAKER_CLOSED)
		return false;

	breaker->state = WBC_BREAKER_CLOSED;
	breaker->retry_at = 0;
	return true;
}

/*
 * A request has failed.  True if that opened the breaker, be it for the
 * first time or again after a probe.
 */
bool
wbc_breaker_fails(WbcBreaker *breaker, int limit, int cooldown_ms,
				  TimestampTz now)
{
	if (breaker->failures < PG_INT32_MAX)
		breaker->failures++;
	if (breaker->state == WBC_BREAKER_OPEN)
		return false;
	if (breaker->state == WBC_BREAKER_CLOSED && breaker->failures < limit)
		return false;

	breaker->state = WBC_BREAKER_OPEN;
	breaker->retry_at = TimestampTzPlusMilliseconds(now, cooldown_ms);
	return true;
}

/* Nobody will tell how the probe has ended: let another one go. */
void
wbc_breaker_abandons(WbcBreaker *breaker, TimestampTz now)
{
	if (breaker->state == WBC_BREAKER_HALF_OPEN)
	{
		breaker->state = WBC_BREAKER_OPEN;
		breaker->retry_at = now;
	}
}

/* The word for views and messages; a constant. */
const char *
wbc_breaker_state_name(WbcBreakerState state)
{
	switch (state)
	{
		case WBC_BREAKER_CLOSED:
			return "closed";
		case WBC_BREAKER_OPEN:
			return "open";
		case WBC_BREAKER_HALF_OPEN:
			return "half-open";
	}
	return "unknown";			/* keep compiler quiet */
}

void
wbc_ratelimit_init(WbcRateLimit *limit)
{
	limit->window_start = 0;
	limit->used = 0;
	limit->paused_until = 0;
}

/*
 * Is now within the window that began at window_start?  A clock that was set
 * back ends the window, lest nothing go until it has caught up.
 */
static bool
in_window(const WbcRateLimit *limit, int window_ms, TimestampTz now)
{
	return now >= limit->window_start &&
		now < TimestampTzPlusMilliseconds(limit->window_start, window_ms);
}

/*
 * The earliest time, now or later, when a request may go.  With requests = 0
 * there is no limit, and only a pause is obeyed.
 */
TimestampTz
wbc_ratelimit_next(const WbcRateLimit *limit, int requests, int window_ms,
				   TimestampTz now)
{
	TimestampTz next = Max(now, limit->paused_until);

	if (requests > 0 && limit->used >= requests &&
		in_window(limit, window_ms, now))
		next = Max(next, TimestampTzPlusMilliseconds(limit->window_start,
													 window_ms));
	return next;
}

/* A request goes: count it, in a new window if the last one has ended. */
void
wbc_ratelimit_take(WbcRateLimit *limit, int window_ms, TimestampTz now)
{
	if (in_window(limit, window_ms, now))
		limit->used++;
	else
	{
		limit->window_start = now;
		limit->used = 1;
	}
}

/* Let nothing go before until; a pause already longer stays. */
void
wbc_ratelimit_pause(WbcRateLimit *limit, TimestampTz until)
{
	limit->paused_until = Max(limit->paused_until, until);
}
