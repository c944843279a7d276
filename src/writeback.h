/*-------------------------------------------------------------------------
 *
 * writeback.h
 *	  Brings entries from memory into the table tier, and takes out of it
 *	  what is of no use any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WRITEBACK_H
#define WBC_WRITEBACK_H

#include "wbcache.h"

extern bool wbc_writeback_run(TimestampTz now, TimestampTz *next);
extern void wbc_writeback_keep_up(void);
extern void wbc_writeback_vacuum(void);
extern void wbc_writeback_finish(TimestampTz now);

#endif							/* WBC_WRITEBACK_H */
