/*-------------------------------------------------------------------------
 *
 * keep.h
 *	  Shared memory that survives a clean restart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_KEEP_H
#define WBC_KEEP_H

#include "wbcache.h"

extern bool wbc_keep_load(const char *name, void *place, Size size);
extern void wbc_keep_save(const char *name, const void *place, Size size);

#endif							/* WBC_KEEP_H */
