/*-------------------------------------------------------------------------
 *
 * generation.h
 *	  Counters that say which fetches are too old to be believed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_GENERATION_H
#define WBC_GENERATION_H

#include "wbcache.h"

/* The stripe of clear(), TRUNCATE and oversized transactions: everyone's. */
#define WBC_STRIPE_EVERYONE	0

/*
 * The stripe of what is invalidated by a pattern; see glob.c.  Every value has
 * it right behind everyone's, but for the private ones.
 */
#define WBC_STRIPE_GLOBS	1

/*
 * Most stripes one entry depends on: everyone, globs, key, endpoint, tags, and
 * games that the key is registered for.
 */
#define WBC_STAMP_MAX		(4 + WBC_TAGS_MAX + WBC_GAMES_MAX)

/*
 * What a value depends on, and what those stripes held just before it was
 * fetched.  A stamp taken while a commit was in progress on one of its
 * stripes is never current.
 */
typedef struct WbcStamp
{
	uint16		n;
	uint32		stripe[WBC_STAMP_MAX];
	uint64		seen[WBC_STAMP_MAX];
} WbcStamp;

extern void wbc_generation_register(void);

/*
 * Names one life of the stripes in one database: values kept elsewhere are
 * worth nothing in another.
 */
extern uint64 wbc_generation_epoch(Oid dbid);
extern uint64 wbc_generation_life(void);

/* Which stripe a name hashes to. */
extern uint32 wbc_generation_stripe_of_key(const WbcKey *key);
extern uint32 wbc_generation_stripe_of_private(const WbcKey *key, Oid role);
extern uint32 wbc_generation_stripe_of_tag(Oid dbid, const char *tag, int len);
extern uint32 wbc_generation_stripe_of_endpoint(Oid dbid, const char *name);

extern void wbc_generation_prefetch(const WbcKey *key);

/* Building, taking and checking stamps. */
extern void wbc_generation_stamp_add(WbcStamp *stamp, uint32 stripe);
extern void wbc_generation_stamp_add_taken(WbcStamp *stamp, uint32 stripe);
extern void wbc_generation_stamp_private(const WbcKey *key, WbcStamp *stamp);
extern void wbc_generation_stamp_take(WbcStamp *stamp);
extern bool wbc_generation_is_since_renewal(uint32 stripe, uint64 seen);
extern bool wbc_generation_is_current(int n, const uint32 *stripe,
									  const uint64 *seen);
extern bool wbc_generation_stamp_is_valid(const WbcStamp *stamp);
extern bool wbc_generation_stamp_is_current(const WbcStamp *stamp);
extern bool wbc_generation_stamp_in_progress(const WbcStamp *stamp);

/* The three moments of an invalidation. */
extern void wbc_generation_begin(uint32 stripe);
extern void wbc_generation_renew(uint32 stripe);
extern uint64 wbc_generation_commit(uint32 stripe);
extern void wbc_generation_abort(uint32 stripe);
extern uint64 wbc_generation_read(uint32 stripe);
extern uint64 wbc_generation_settled(uint64 seen);
extern uint64 wbc_generation_after_commit(uint64 before);
extern bool wbc_generation_same(uint64 a, uint64 b);

#endif							/* WBC_GENERATION_H */
