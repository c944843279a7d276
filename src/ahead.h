/*-------------------------------------------------------------------------
 *
 * ahead.h
 *	  Keys whose values are refreshed before they turn stale.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_AHEAD_H
#define WBC_AHEAD_H

#include "wbcache.h"

/* Most keys, over all databases. */
#define WBC_AHEAD_MAX	4096

extern void wbc_ahead_register(void);

/* What the keys of a game belong to. */
extern uint64 wbc_ahead_group(const char *game_id, int len);

/* for the end of a transaction; they throw nothing */
extern bool wbc_ahead_hurry(Oid dbid, uint64 group);
extern bool wbc_ahead_drop(Oid dbid, uint64 group);
extern void wbc_ahead_want_warmer(void);

/* for the warmer */
extern bool wbc_ahead_add(const WbcKey *key, uint64 group, int priority,
						  TimestampTz until, const text *basis);
extern void wbc_ahead_keep(Oid dbid, uint64 *groups, int n);
extern int64 wbc_ahead_count(Oid dbid);

/* for the fetcher */
extern TimestampTz wbc_ahead_run(TimestampTz now);

#endif							/* WBC_AHEAD_H */
