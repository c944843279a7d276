/*-------------------------------------------------------------------------
 *
 * ttl.c
 *	  Times to live, from intervals to microseconds, and back.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "ttl.h"
#include "utils/builtins.h"

/* A month counts 30 days, a day 24 hours.  Returns false on overflow. */
static bool
microseconds(const Interval *interval, int64 *result)
{
	int64		days;
	int64		whole;

	return !pg_mul_s64_overflow(interval->month, DAYS_PER_MONTH, &days) &&
		!pg_add_s64_overflow(days, interval->day, &days) &&
		!pg_mul_s64_overflow(days, USECS_PER_DAY, &whole) &&
		!pg_add_s64_overflow(whole, interval->time, result);
}

/*
 * An interval in microseconds.  Throws, with the hint, unless it is between
 * min and max.
 */
int64
wbc_ttl_from_interval(const Interval *interval, const char *what,
					  int64 min, int64 max, const char *hint)
{
	int64		result;

	if (!microseconds(interval, &result) || result < min || result > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range: %s", what,
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(interval)))),
				 errhint("%s", hint)));
	return result;
}

int64
wbc_ttl_soft(const Interval *interval)
{
	return wbc_ttl_from_interval(interval, "soft_ttl", 1, WBC_TTL_MAX,
								 "Give a time above zero and up to 100 years, such as '5 min'.");
}

int64
wbc_ttl_hard(const Interval *interval)
{
	return wbc_ttl_from_interval(interval, "hard_ttl", 1, WBC_TTL_MAX,
								 "Give a time that is not below soft_ttl, and up to 100 years, such as '10 min'.");
}

/*
 * A new interval of so many microseconds.
 */
Datum
wbc_ttl_as_interval(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

/*
 * Throws when a value would be hard-expired before it is stale.
 */
void
wbc_ttl_check_order(int64 soft_ttl, int64 hard_ttl)
{
	if (soft_ttl > hard_ttl)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("soft_ttl is above hard_ttl"),
				 errdetail("A value is fresh until its soft TTL has passed, then stale until its hard TTL has passed."),
				 errhint("Give a hard_ttl that is at least soft_ttl.")));
}
