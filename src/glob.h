/*-------------------------------------------------------------------------
 *
 * glob.h
 *	  Invalidation of all keys that match a pattern.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_GLOB_H
#define WBC_GLOB_H

#include "generation.h"
#include "wbcache.h"

/* Longest glob, in bytes. */
#define WBC_GLOB_MAX	512

/* Globs that are remembered, over all databases. */
#define WBC_GLOBS_MAX	256

/* A glob of the current transaction, from pre-commit on. */
typedef struct WbcGlobHold
{
	int			slot;
	uint64		generation;		/* that its commit gave it */
} WbcGlobHold;

extern void wbc_glob_register(void);
extern bool wbc_glob_is_complete(const char *glob, int len);
extern bool wbc_glob_matches(const char *glob, int glob_len,
							 const char *text, int len);

/* The three moments of an invalidation. */
extern bool wbc_glob_begin(Oid dbid, const char *glob, int len,
						   WbcGlobHold *hold);
extern void wbc_glob_commit(WbcGlobHold *hold);
extern void wbc_glob_abort(const WbcGlobHold *hold);

/* For stamps; see stamp.c. */
extern bool wbc_glob_catch_up(Oid dbid, const char *key, int len, uint64 seen,
							  uint64 *now);
extern void wbc_glob_settle(const WbcKey *key, uint64 *seen);
extern bool wbc_glob_carry(const WbcKey *key, const WbcGlobHold *own, int nown,
						   uint64 *seen);

#endif							/* WBC_GLOB_H */
