/*-------------------------------------------------------------------------
 *
 * odds.c
 *	  Whether odds have moved far enough to matter.
 *
 * Layer 1.  Arithmetic only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "odds.h"

/* So that 2.00 to 2.20 is 10 % and not more, in binary too. */
#define TOLERANCE	1e-9

/*
 * Finds a measure by its name, 'price' or 'probability'.
 */
bool
wbc_odds_measure_of(const char *name, WbcOddsMeasure *measure)
{
	if (strcmp(name, "price") == 0)
		*measure = WBC_ODDS_PRICE;
	else if (strcmp(name, "probability") == 0)
		*measure = WBC_ODDS_PROBABILITY;
	else
		return false;
	return true;
}

/*
 * The probability that American odds imply.  +100 and -100 are the same.
 */
static double
implied_probability(double american)
{
	return american < 0 ? -american / (100 - american) :
		100 / (american + 100);
}

/*
 * Is the change, relative to the old odds, above the threshold in percent?
 * NULL: no odds.  Where there is nothing to relate it to (no old odds, 0, not
 * a finite number), any change is.  0 is no price of American odds; as a new
 * one it counts as certainty.
 */
bool
wbc_odds_have_moved(const double *old, const double *new, double threshold,
					WbcOddsMeasure measure)
{
	double		from;
	double		to;

	if (old == NULL || new == NULL)
		return old != new;
	from = *old;
	to = *new;
	if (isnan(from) || isnan(to))
		return isnan(from) != isnan(to);
	if (from == to)
		return false;
	if (from == 0 || isinf(from) || isinf(to))
		return true;

	if (measure == WBC_ODDS_PROBABILITY)
	{
		from = implied_probability(from);
		to = implied_probability(to);
	}
	return fabs(to - from) / fabs(from) * 100 > threshold * (1 + TOLERANCE);
}
