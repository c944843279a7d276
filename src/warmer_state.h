/*-------------------------------------------------------------------------
 *
 * warmer_state.h
 *	  What the warmer of each database has done, and does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WARMER_STATE_H
#define WBC_WARMER_STATE_H

#include "wbcache.h"

/* The task, if there is one. */
#define WBC_WARMER_TASK		"warmer"

/*
 * X(name, description): what a run has done, and all runs together.
 */
#define WBC_WARMER_COUNTERS(X) \
	X(fixtures_warmed, "games whose categories are there") \
	X(categories_cached, "keys of categories that are there") \
	X(props_cached, "keys of props that are there") \
	X(requests, "fetches that it has started") \
	X(errors, "keys that could not be had") \
	X(skipped_for_budget, "games of which something was left for the next run, for want of budget or time")

#define WBC_WARMER_FIELD(name, description) int64 name;

typedef struct WbcWarmerCounts
{
	WBC_WARMER_COUNTERS(WBC_WARMER_FIELD)
} WbcWarmerCounts;

typedef enum WbcWarmerEnd
{
	WBC_WARMER_NEVER,			/* no run has ended since the server start */
	WBC_WARMER_DONE,
	WBC_WARMER_FAILED,
	WBC_WARMER_INTERRUPTED
} WbcWarmerEnd;

/* Of one database. */
typedef struct WbcWarmerState
{
	Oid			dbid;
	pid_t		pid;			/* of the run under way; 0: none */
	int64		runs;
	TimestampTz started_at;		/* of the last run, or the one under way */
	TimestampTz ended_at;		/* of the last run; 0: never */
	WbcWarmerEnd end;			/* of the last run */
	char		error[192];		/* the last one of the last run; empty: none */
	int64		last_errors;	/* of the last run that has ended */
	WbcWarmerCounts now;		/* of the last run, or the one under way */
	WbcWarmerCounts total;
	int64		refreshes_ahead;	/* started by the fetcher */
	uint32		wanted;			/* how often a run was, before its time */
	bool		early;			/* the next run will be such a one */
	int			budget;			/* requests that are left until then */
	TimestampTz budget_until;
} WbcWarmerState;

extern void wbc_warmer_state_register(void);
extern int	wbc_warmer_state_begin(TimestampTz now, int budget, int64 interval);
extern void wbc_warmer_state_put(const WbcWarmerCounts *counts, int budget,
								 const char *error);
extern bool wbc_warmer_state_end(WbcWarmerEnd end, TimestampTz now);
extern void wbc_warmer_state_count_ahead(void);

/* for the end of a transaction; throws nothing */
extern bool wbc_warmer_state_want(void);

extern uint32 wbc_warmer_state_wanted(void);
extern void wbc_warmer_state_promise(uint32 wanted);

extern void wbc_warmer_state_read(WbcWarmerState *state);

#endif							/* WBC_WARMER_STATE_H */
