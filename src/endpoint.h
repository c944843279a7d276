/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *	  Classes of keys: which endpoint a key belongs to, and what it says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_ENDPOINT_H
#define WBC_ENDPOINT_H

#include "generation.h"
#include "pattern.h"
#include "wbcache.h"

/*
 * In place of an endpoint's name: the stripe that every change of the table
 * wbcache.endpoint commits.
 */
#define WBC_ENDPOINT_TABLE	""

/* What becomes of a value that was invalidated. */
typedef enum WbcOnInvalidate
{
	WBC_ON_INVALIDATE_REMOVE,	/* never served again */
	WBC_ON_INVALIDATE_EXPIRE	/* served as stale while it is refreshed */
} WbcOnInvalidate;

/*
 * One row of wbcache.endpoint, compiled.  Backend-local; valid until the
 * end of the transaction in which it was routed to.  TTLs are in microseconds.
 */
typedef struct WbcEndpoint
{
	NameData	name;
	Oid			owner;
	WbcPattern	pattern;
	NameData	server;			/* empty: none */
	char	   *path;			/* template, NULL without a server */
	char	   *loader;			/* signature of a function, NULL: none */
	bool		null_is_value;	/* the loader's NULL is cached as JSON null */
	int64		statement_timeout;	/* of the loader */
	int64		lock_timeout;	/* likewise */
	int64		soft_ttl;
	int64		hard_ttl;
	int64		max_stale;
	int64		error_ttl;
	int			ntags;
	char	  **tags;			/* templates */
	WbcOnInvalidate on_invalidate;
	int			nreaders;
	Oid		   *readers;
	int			nwriters;
	Oid		   *writers;
	uint32		stripe;			/* of its name */
	int			metrics;		/* its counters: see metrics.h */
	bool		uncommitted;	/* written by the current transaction: the
								 * fetcher doesn't know it */

	/* answers of the last privilege check, forgotten when roles change */
	Oid			reader_checked;
	bool		reader_allowed;
	uint64		reader_roles;	/* the state of the roles it was given in */
} WbcEndpoint;

/* Where an endpoint's values come from. */
typedef enum WbcSource
{
	WBC_SOURCE_NONE,			/* set() alone */
	WBC_SOURCE_SERVER,
	WBC_SOURCE_LOADER
} WbcSource;

static inline WbcSource
wbc_endpoint_source(const WbcEndpoint *endpoint)
{
	if (NameStr(endpoint->server)[0] != '\0')
		return WBC_SOURCE_SERVER;
	return endpoint->loader != NULL ? WBC_SOURCE_LOADER : WBC_SOURCE_NONE;
}

/* A key with the endpoint it belongs to and its parts. */
typedef struct WbcRoute
{
	WbcEndpoint *endpoint;
	WbcParts	parts;			/* points into the key's data */
} WbcRoute;

extern void wbc_endpoint_init(void);
extern void wbc_endpoint_prepare(void);
extern bool wbc_endpoint_route(const WbcKey *key, WbcRoute *route);
extern bool wbc_endpoint_exists(const char *name, int len);
extern void wbc_endpoint_report_no_route(const WbcKey *key) pg_attribute_noreturn();
extern bool wbc_endpoint_may_read(WbcEndpoint *endpoint, Oid role);
extern bool wbc_endpoint_may_write(WbcEndpoint *endpoint, Oid role);
extern void wbc_endpoint_route_to_write(const text *from, WbcKey *key,
										WbcRoute *route);
extern void wbc_endpoint_stamp(const WbcKey *key, const WbcRoute *route,
							   WbcStamp *stamp);
extern bool wbc_endpoint_is_current(void);
extern void wbc_endpoint_not_at_rest(int round);

#endif							/* WBC_ENDPOINT_H */
