/*-------------------------------------------------------------------------
 *
 * router.h
 *	  From a key's parts to the endpoint that has it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_ROUTER_H
#define WBC_ROUTER_H

#include "endpoint.h"

typedef struct WbcRouter WbcRouter;

extern WbcRouter *wbc_router_make(WbcEndpoint **endpoints, int n);
extern WbcEndpoint *wbc_router_find(const WbcRouter *router,
									const WbcParts *parts);
extern WbcEndpoint *wbc_router_nearest(const WbcRouter *router,
									   const WbcParts *parts,
									   bool (*is_visible) (WbcEndpoint *endpoint));

#endif							/* WBC_ROUTER_H */
