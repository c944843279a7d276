/*-------------------------------------------------------------------------
 *
 * health.h
 *	  What it takes to say how the cache is, beside the statistics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_HEALTH_H
#define WBC_HEALTH_H

#include "datatype/timestamp.h"

extern void wbc_health_register(void);
extern void wbc_health_tick(TimestampTz now);

#endif							/* WBC_HEALTH_H */
