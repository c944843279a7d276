/*-------------------------------------------------------------------------
 *
 * hotkey.h
 *	  The hottest keys: noted now and then, and fetched again after a crash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_HOTKEY_H
#define WBC_HOTKEY_H

#include "wbcache.h"

/* X(name, description): what has become of those that were missing at the start */
#define WBC_HOTKEY_GAUGES(X) \
	X(wanted, "hot keys that neither tier had at the server start") \
	X(back, "hot keys that were wanted and are there again, whoever has brought them back") \
	X(under_way, "hot keys that are wanted and whose flights are queued or under way") \
	X(failed, "hot keys that were wanted, could not be fetched, and are not tried any more")

extern void wbc_hotkey_register(void);
extern void wbc_hotkey_run(TimestampTz now, TimestampTz *next);

#endif							/* WBC_HOTKEY_H */
