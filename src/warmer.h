/*-------------------------------------------------------------------------
 *
 * warmer.h
 *	  The warmer: what its two files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WARMER_H
#define WBC_WARMER_H

#include "nodes/pg_list.h"
#include "wbcache.h"

/* A row of wbcache.warm_log. */
typedef struct WbcWarmLog
{
	TimestampTz at;
	const char *fixture;
	const char *key;
	int			priority;
	double		ms;
	const char *result;
} WbcWarmLog;

extern List *wbc_warmer_sportsbooks(MemoryContext context);
extern void wbc_warmer_write_log(const List *rows, bool trim);

#endif							/* WBC_WARMER_H */
