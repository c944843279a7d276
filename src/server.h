/*-------------------------------------------------------------------------
 *
 * server.h
 *	  Upstreams as SQL/MED describes them: options of foreign servers and
 *	  user mappings of the wrapper wbcache_http.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_SERVER_H
#define WBC_SERVER_H

#include "nodes/pg_list.h"
#include "wbcache.h"

/* Options of one server with the headers of one role's user mapping. */
typedef struct WbcServer
{
	Oid			serverid;
	char	   *name;
	char	   *base_url;		/* no trailing slash */
	int			timeout_ms;		/* whole request */
	int			connect_timeout_ms;
	int			max_connections;	/* requests at once */
	int			rate_requests;	/* 0: no limit */
	int			rate_window_ms;
	int			breaker_failures;	/* consecutive, that open the breaker */
	int			breaker_cooldown_ms;
	bool		follow_redirects;	/* within the base URL's origin only */
	char	   *ca_file;		/* NULL: the system's */
	List	   *headers;		/* of char *, secrets: never print */
} WbcServer;

extern WbcServer *wbc_server_load(const char *name, Oid role);
extern void wbc_server_check_usage(const char *name, Oid role);

#endif							/* WBC_SERVER_H */
