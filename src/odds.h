/*-------------------------------------------------------------------------
 *
 * odds.h
 *	  Whether odds have moved far enough to matter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_ODDS_H
#define WBC_ODDS_H

#include "wbcache.h"

/* What is compared. */
typedef enum WbcOddsMeasure
{
	WBC_ODDS_PRICE,				/* the numbers as they are */
	WBC_ODDS_PROBABILITY		/* what they say as American odds */
} WbcOddsMeasure;

extern bool wbc_odds_measure_of(const char *name, WbcOddsMeasure *measure);
extern bool wbc_odds_have_moved(const double *old, const double *new,
								double threshold, WbcOddsMeasure measure);

#endif							/* WBC_ODDS_H */
