/*-------------------------------------------------------------------------
 *
 * ttl.h
 *	  Times to live, from intervals to microseconds, and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_TTL_H
#define WBC_TTL_H

#include "utils/timestamp.h"
#include "wbcache.h"

/* 100 years: far from overflow when added to a timestamp. */
#define WBC_TTL_MAX		(INT64CONST(36525) * USECS_PER_DAY)

extern int64 wbc_ttl_from_interval(const Interval *interval, const char *what,
								   int64 min, int64 max, const char *hint);
extern int64 wbc_ttl_soft(const Interval *interval);
extern int64 wbc_ttl_hard(const Interval *interval);
extern Datum wbc_ttl_as_interval(int64 microseconds);
extern void wbc_ttl_check_order(int64 soft_ttl, int64 hard_ttl);

#endif							/* WBC_TTL_H */
