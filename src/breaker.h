/*-------------------------------------------------------------------------
 *
 * breaker.h
 *	  Circuit breaker and rate limit of one upstream, as plain state
 *	  machines: no clock, no lock, no shared memory of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_BREAKER_H
#define WBC_BREAKER_H

#include "wbcache.h"

typedef enum WbcBreakerState
{
	WBC_BREAKER_CLOSED,			/* requests go */
	WBC_BREAKER_OPEN,			/* none goes until retry_at */
	WBC_BREAKER_HALF_OPEN		/* one probe is on its way, no other goes */
} WbcBreakerState;

typedef struct WbcBreaker
{
	WbcBreakerState state;
	int			failures;		/* consecutive */
	TimestampTz retry_at;		/* OPEN: when a probe may go; HALF_OPEN: when
								 * the probe went; else 0 */
} WbcBreaker;

/* A fixed window, and a pause the upstream itself has asked for. */
typedef struct WbcRateLimit
{
	TimestampTz window_start;
	int			used;			/* requests in this window */
	TimestampTz paused_until;	/* Retry-After; 0: not paused */
} WbcRateLimit;

extern void wbc_breaker_init(WbcBreaker *breaker);
extern bool wbc_breaker_admits(const WbcBreaker *breaker, TimestampTz now);
extern void wbc_breaker_starts(WbcBreaker *breaker, TimestampTz now);
extern bool wbc_breaker_succeeds(WbcBreaker *breaker);
extern bool wbc_breaker_fails(WbcBreaker *breaker, int limit, int cooldown_ms,
							  TimestampTz now);
extern void wbc_breaker_abandons(WbcBreaker *breaker, TimestampTz now);
extern const char *wbc_breaker_state_name(WbcBreakerState state);

extern void wbc_ratelimit_init(WbcRateLimit *limit);
extern TimestampTz wbc_ratelimit_next(const WbcRateLimit *limit, int requests,
									  int window_ms, TimestampTz now);
extern void wbc_ratelimit_take(WbcRateLimit *limit, int window_ms,
							   TimestampTz now);
extern void wbc_ratelimit_pause(WbcRateLimit *limit, TimestampTz until);

#endif							/* WBC_BREAKER_H */
