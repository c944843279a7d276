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

extern void wbc_hotkey_register(void);
extern void wbc_hotkey_run(TimestampTz now, TimestampTz *next);

#endif							/* WBC_HOTKEY_H */
