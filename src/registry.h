/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Keys that belong to a game although their endpoint doesn't say so.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_REGISTRY_H
#define WBC_REGISTRY_H

#include "datatype/timestamp.h"
#include "generation.h"
#include "wbcache.h"

/* Registrations there is room for, over all databases. */
#define WBC_REGISTRATIONS_MAX	32768

typedef enum WbcRegistered
{
	WBC_REGISTERED,
	WBC_REGISTERED_BEFORE,		/* it lives longer now */
	WBC_REGISTRY_FULL,
	WBC_REGISTERED_TOO_OFTEN	/* the key has WBC_GAMES_MAX games */
} WbcRegistered;

extern void wbc_registry_register(void);
extern WbcRegistered wbc_registry_add(const WbcKey *key, uint32 stripe,
									  TimestampTz until, TimestampTz now);
extern void wbc_registry_stamp(const WbcKey *key, WbcStamp *stamp);
extern void wbc_registry_sweep(TimestampTz now);
extern int	wbc_registry_count(void);

#endif							/* WBC_REGISTRY_H */
