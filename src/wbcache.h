/*-------------------------------------------------------------------------
 *
 * wbcache.h
 *	  The words every module shares: limits, identities, outcomes, errors.
 *
 * Layer 0.  Nothing here has behaviour, and nothing here may depend on any
 * other header of ours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBCACHE_H
#define WBCACHE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Longest key, in bytes. */
#define WBC_KEY_MAX			512

/* Most segments a key or a pattern may have. */
#define WBC_SEGMENTS_MAX	32

/* Most tags an entry may carry, its endpoint's name not counted. */
#define WBC_TAGS_MAX		16

/* Most games one key may be registered for. */
#define WBC_GAMES_MAX		8

/* Most databases that can be served. */
#define WBC_DATABASES_MAX	64

/* Most loader processes a database may have. */
#define WBC_LOADERS_MAX		16

/* Most keys of a database that are fetched again after a crash. */
#define WBC_HOT_KEYS_MAX	10000

/* Longest ETag and Last-Modified that are kept; longer ones are dropped. */
#define WBC_VALIDATOR_MAX	255

/*
 * SQLSTATEs of our own.  Class 08 and 57P would say the same, but connection
 * pools take those for a broken session and throw the connection away.
 */
#define WBC_ERRCODE_UPSTREAM_FAILED			MAKE_SQLSTATE('W','B','0','0','1')
#define WBC_ERRCODE_UPSTREAM_UNAVAILABLE	MAKE_SQLSTATE('W','B','0','0','2')
#define WBC_ERRCODE_WAIT_TIMEOUT			MAKE_SQLSTATE('W','B','0','0','3')
#define WBC_ERRCODE_NO_WORKER				MAKE_SQLSTATE('W','B','0','0','4')
#define WBC_ERRCODE_TOO_MANY_FLIGHTS		MAKE_SQLSTATE('W','B','0','0','5')
#define WBC_ERRCODE_LEASE_LOST				MAKE_SQLSTATE('W','B','0','0','6')
#define WBC_ERRCODE_TASK_FAILED				MAKE_SQLSTATE('W','B','0','0','7')

/*
 * Identity of an entry.  The hash covers all other fields; only the first
 * len bytes of data are set.
 */
typedef struct WbcKey
{
	uint64		hash;
	Oid			dbid;
	Oid			scope;			/* InvalidOid, or the role it is private to */
	Oid			loader;			/* InvalidOid, or what made it for that role */
	uint16		len;
	char		data[WBC_KEY_MAX];
} WbcKey;

/* How a read was answered; the labels of wbcache.cache_status, in order. */
typedef enum WbcStatus
{
	WBC_STATUS_HIT,				/* fresh, from either tier */
	WBC_STATUS_STALE,			/* between soft and hard TTL */
	WBC_STATUS_MISS,			/* this read started the flight it waited for */
	WBC_STATUS_COLLAPSED,		/* waited for somebody else's flight */
	WBC_STATUS_BYPASS			/* the cache was not to be believed */
} WbcStatus;

/*
 * An error as it travels through shared memory from the process that met it
 * to those who asked.  Empty detail or hint means none.
 */
typedef struct WbcError
{
	int			sqlstate;
	char		message[192];
	char		detail[256];
	char		hint[192];
} WbcError;

/*
 * Has this time come?  So it has too if it is further off than it is ever set:
 * then the clock was set back.
 */
static inline bool
wbc_is_time(TimestampTz at, TimestampTz now, int64 furthest)
{
	return at <= now || at > now + furthest;
}

#endif							/* WBCACHE_H */
