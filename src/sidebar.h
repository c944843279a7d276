/*-------------------------------------------------------------------------
 *
 * sidebar.h
 *	  The sidebar: how current its materialized view is, and refreshing it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_SIDEBAR_H
#define WBC_SIDEBAR_H

#include "endpoint.h"
#include "wbcache.h"

extern text *wbc_sidebar_key(const text *sport_id, const text *league_id);
extern char *wbc_sidebar_note(const WbcEndpoint *endpoint, const text *value);

#endif							/* WBC_SIDEBAR_H */
