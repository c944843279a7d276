/*-------------------------------------------------------------------------
 *
 * endpoint_trigger.h
 *	  What must hold for the table wbcache.endpoint whoever writes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_ENDPOINT_TRIGGER_H
#define WBC_ENDPOINT_TRIGGER_H

#include "endpoint.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

extern void wbc_endpoint_trigger_lock(Relation table);
extern void wbc_endpoint_trigger_check_equal_right(Relation table,
												   const WbcEndpoint *new,
												   ItemPointer replaced);

#endif							/* WBC_ENDPOINT_TRIGGER_H */
