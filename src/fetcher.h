/*-------------------------------------------------------------------------
 *
 * fetcher.h
 *	  The background worker that does all HTTP of a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_FETCHER_H
#define WBC_FETCHER_H

#include "wbcache.h"

extern PGDLLEXPORT void wbc_fetcher_main(Datum arg);

#endif							/* WBC_FETCHER_H */
