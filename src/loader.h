/*-------------------------------------------------------------------------
 *
 * loader.h
 *	  The background workers that run SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_LOADER_H
#define WBC_LOADER_H

#include "wbcache.h"

extern PGDLLEXPORT void wbc_loader_main(Datum arg);

#endif							/* WBC_LOADER_H */
