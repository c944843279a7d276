/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  Triggers on the user's own tables that invalidate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WATCH_H
#define WBC_WATCH_H

#include "wbcache.h"

extern void wbc_watch_truncated(Oid relation);
extern void wbc_watch_trigger_altered(Oid trigger);

#endif							/* WBC_WATCH_H */
