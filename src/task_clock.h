/*-------------------------------------------------------------------------
 *
 * task_clock.h
 *	  Starting tasks when their time has come.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_TASK_CLOCK_H
#define WBC_TASK_CLOCK_H

#include "wbcache.h"

extern void wbc_task_clock_look_at_commit(void);
extern void wbc_task_clock_run(TimestampTz now, TimestampTz *next);

#endif							/* WBC_TASK_CLOCK_H */
