/*-------------------------------------------------------------------------
 *
 * sidebar_parts.h
 *	  What sidebar.c and sidebar_refresh.c share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_SIDEBAR_PARTS_H
#define WBC_SIDEBAR_PARTS_H

#include "generation.h"

typedef enum WbcSidebarState
{
	WBC_SIDEBAR_CURRENT,		/* nothing has changed since its refresh */
	WBC_SIDEBAR_BEHIND,
	WBC_SIDEBAR_NOT_POPULATED,
	WBC_SIDEBAR_MISSING
} WbcSidebarState;

extern WbcSidebarState wbc_sidebar_state(void);
extern void wbc_sidebar_stamp_begin(WbcStamp *stamp);

#endif							/* WBC_SIDEBAR_PARTS_H */
