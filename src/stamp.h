/*-------------------------------------------------------------------------
 *
 * stamp.h
 *	  Taking and checking the stamps of keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_STAMP_H
#define WBC_STAMP_H

#include "generation.h"
#include "wbcache.h"

extern void wbc_stamp_take(const WbcKey *key, WbcStamp *stamp);
extern bool wbc_stamp_is_current(const WbcKey *key, const WbcStamp *stamp);
extern bool wbc_stamp_catch_up(Oid dbid, const char *key, int len, int n,
							   const uint32 *stripe, uint64 *seen);

#endif							/* WBC_STAMP_H */
