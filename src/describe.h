/*-------------------------------------------------------------------------
 *
 * describe.h
 *	  What there is to measure, in one list.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_DESCRIBE_H
#define WBC_DESCRIBE_H

#include "lib/stringinfo.h"
#include "wbcache.h"

/* X(symbol, name, view): what is measured together, with the same labels */
#define WBC_EACH_GROUP(X) \
	X(ENDPOINT, "endpoint", "stat_endpoint") \
	X(LATENCY, "latency", "stat_latency") \
	X(SERVER, "server", "stat_server") \
	X(COALESCER, "coalescer", "stat_coalescer") \
	X(INVALIDATION, "invalidation", "stat_invalidation") \
	X(SIDEBAR, "sidebar", "stat_sidebar") \
	X(WARMER, "warmer", "stat_warmer") \
	X(WARMUP, "warmup", "stat_warmup") \
	X(MEMORY, "memory", "stat_memory") \
	X(WORKER, "worker", "stat_worker")

#define WBC_GROUP_SYMBOL(symbol, name, view) WBC_GROUP_##symbol,

typedef enum WbcGroup
{
	WBC_EACH_GROUP(WBC_GROUP_SYMBOL)
	WBC_GROUPS					/* how many there are */
} WbcGroup;

/* What kind of a number it is; the name of its metric goes by that. */
typedef enum WbcMeasure
{
	WBC_MEASURE_COUNTER,
	WBC_MEASURE_COUNTER_US,		/* of microseconds */
	WBC_MEASURE_TOTAL,			/* a counter whose column begins with "total_" */
	WBC_MEASURE_GAUGE,
	WBC_MEASURE_LAST,			/* a gauge: of the last time only */
	WBC_MEASURE_BYTES,			/* a gauge */
	WBC_MEASURE_HISTOGRAM		/* of seconds */
} WbcMeasure;

typedef struct WbcDescription
{
	WbcGroup	group;
	const char *name;			/* of a column */
	WbcMeasure	measure;
	bool		in_view;		/* has the group's view that column? */
	const char *text;
} WbcDescription;

extern int	wbc_describe_count(void);
extern const WbcDescription *wbc_describe(int i);
extern const char *wbc_describe_type(WbcMeasure measure);
extern void wbc_describe_metric(const WbcDescription *description,
								StringInfo out);

#endif							/* WBC_DESCRIBE_H */
