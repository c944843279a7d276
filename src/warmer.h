/*-------------------------------------------------------------------------
 *
 * warmer.h
 *	  The warmer: what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WARMER_H
#define WBC_WARMER_H

#include "nodes/pg_list.h"
#include "wbcache.h"

typedef struct WbcWarmerGame
{
	char	   *id;
	int			priority;
	uint64		group;			/* see ahead.h */
	bool		skipped;		/* something of it was, for want of budget or time */
} WbcWarmerGame;

/* A key. */
typedef struct WbcWarmerJob
{
	WbcWarmerGame *game;
	bool		is_categories;
	char	   *key;
} WbcWarmerJob;

typedef struct WbcWarmerQueue
{
	MemoryContext context;		/* of all that it points to */
	List	   *sportsbooks;	/* whose props are wanted; names */
	List	   *jobs;			/* the last one is the next */
} WbcWarmerQueue;

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

/* warmer_queue.c */
extern bool wbc_warmer_plan(WbcWarmerQueue *queue, int *unusable);
extern bool wbc_warmer_add_props(WbcWarmerQueue *queue, WbcWarmerGame *game,
								 text *categories);
extern int	wbc_warmer_most_props(const WbcWarmerQueue *queue);

/* warmer_sql.c */
extern List *wbc_warmer_sportsbooks(MemoryContext context);
extern void wbc_warmer_write_log(const List *rows, bool trim);

#endif							/* WBC_WARMER_H */
