/*-------------------------------------------------------------------------
 *
 * window.h
 *	  How much counters have grown within the last five minutes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WINDOW_H
#define WBC_WINDOW_H

#include "datatype/timestamp.h"
#include "wbcache.h"

/* What is looked back at, at least. */
#define WBC_WINDOW_LENGTH	(5 * 60 * USECS_PER_SEC)

/* Snapshots are no closer than this ... */
#define WBC_WINDOW_STEP		(10 * USECS_PER_SEC)

/* ... so that one of these is old enough, and the rest too young. */
#define WBC_WINDOW_SNAPSHOTS	31

/* Counters that a window may have. */
#define WBC_WINDOW_COUNTERS	8

typedef struct WbcSnapshot
{
	TimestampTz at;
	uint64		count[WBC_WINDOW_COUNTERS];
} WbcSnapshot;

typedef struct WbcWindow
{
	int			newest;			/* index in the ring */
	int			n;				/* snapshots there are, from 1 on */
	WbcSnapshot ring[WBC_WINDOW_SNAPSHOTS];
} WbcWindow;

extern void wbc_window_begin(WbcWindow *window, TimestampTz now);
extern void wbc_window_put(WbcWindow *window, TimestampTz now,
						   const uint64 *count);
extern int64 wbc_window_read(const WbcWindow *window, TimestampTz now,
							 const uint64 *count, uint64 *growth);

#endif							/* WBC_WINDOW_H */
