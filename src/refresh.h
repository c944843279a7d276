/*-------------------------------------------------------------------------
 *
 * refresh.h
 *	  From the end of a fetch to everyone who wants its result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_REFRESH_H
#define WBC_REFRESH_H

#include "endpoint.h"
#include "flight.h"
#include "generation.h"
#include "utils/dsa.h"
#include "wbcache.h"

/* What a fetch was made for, and what its result is subject to. */
typedef struct WbcRefresh
{
	int			flight;
	const WbcKey *key;			/* the flight's own */
	WbcStamp	stamp;			/* taken before the fetch began */
	TimestampTz asked_at;		/* when its flight was made */
	TimestampTz started_at;
	uint64		source;			/* see WbcEntry */
	dsa_pointer base;			/* pinned entry whose validators were sent, or
								 * InvalidDsaPointer */

	/* copied from the endpoint; microseconds */
	int64		soft_ttl;
	int64		hard_ttl;
	int64		max_stale;
	int64		error_ttl;
	bool		expire_on_invalidate;
	int			metrics;
	NameData	endpoint;		/* empty: none, or not known */
} WbcRefresh;

/* A body with what the upstream said about it. */
typedef struct WbcBody
{
	const char *data;
	Size		len;
	const char *etag;			/* "": none */
	const char *last_modified;	/* "": none */
} WbcBody;

extern void wbc_refresh_begin(WbcRefresh *refresh, int flight, TimestampTz now);
extern void wbc_refresh_route(WbcRefresh *refresh, WbcRoute *route);
extern void wbc_refresh_ad_hoc(WbcRefresh *refresh, const WbcAdHoc *ad_hoc);
extern const char *wbc_refresh_check_body(const char *data, Size len);
extern bool wbc_refresh_publish(const WbcRefresh *refresh, const WbcBody *body,
								WbcError *error, TimestampTz now);
extern bool wbc_refresh_redate(const WbcRefresh *refresh, const WbcBody *validators,
							   WbcError *error, TimestampTz now);
extern void wbc_refresh_give_up(const WbcRefresh *refresh, const WbcError *error);
extern void wbc_refresh_fail(const WbcRefresh *refresh, const WbcError *error,
							 TimestampTz now);

/* refresh_log.c; server is NULL for a loader */
extern void wbc_refresh_log_success(const WbcRefresh *refresh,
									const WbcKey *key, const char *server,
									TimestampTz now);
extern void wbc_refresh_log_failure(const WbcRefresh *refresh,
									const WbcKey *key, const char *server,
									const WbcError *error, TimestampTz now);
extern void wbc_refresh_context(void *refresh);

#endif							/* WBC_REFRESH_H */
