/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  Keeps a fetcher and loaders running in each database of
 *	  wbcache.databases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_LAUNCHER_H
#define WBC_LAUNCHER_H

#include "wbcache.h"

extern void wbc_launcher_register(void);
extern PGDLLEXPORT void wbc_launcher_main(Datum arg);

#endif							/* WBC_LAUNCHER_H */
