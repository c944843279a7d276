/*-------------------------------------------------------------------------
 *
 * push.h
 *	  Tells others what was invalidated: by NOTIFY, and in the server log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_PUSH_H
#define WBC_PUSH_H

#include "datatype/timestamp.h"
#include "wbcache.h"

extern void wbc_push_prepare(void);
extern TimestampTz wbc_push_run(TimestampTz now);

#endif							/* WBC_PUSH_H */
