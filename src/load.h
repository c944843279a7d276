/*-------------------------------------------------------------------------
 *
 * load.h
 *	  One flight carried out by an SQL loader.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_LOAD_H
#define WBC_LOAD_H

#include "endpoint.h"
#include "wbcache.h"

extern void wbc_load_no_process(WbcError *error);
extern void wbc_load_flight(int flight, TimestampTz now);
extern text *wbc_load_in_transaction(const WbcKey *key, const WbcRoute *route,
									 Oid ad_hoc_loader);

#endif							/* WBC_LOAD_H */
