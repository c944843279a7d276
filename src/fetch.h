/*-------------------------------------------------------------------------
 *
 * fetch.h
 *	  One fetch over HTTP, from a flight taken to a flight landed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_FETCH_H
#define WBC_FETCH_H

#include "http.h"
#include "lib/ilist.h"
#include "refresh.h"
#include "server.h"
#include "upstream.h"
#include "wbcache.h"

/* Lives in the fetcher, in a memory context of its own. */
typedef struct WbcFetch
{
	dlist_node	node;			/* in the fetcher's list */
	MemoryContext context;
	WbcRefresh	refresh;
	WbcServer  *server;
	char	   *url;
	int			upstream;		/* slot, while the request runs */
	bool		limited;		/* the rate limit made it wait */
	WbcUrgency	urgency;		/* as of the last look */
	TimestampTz taken_at;
} WbcFetch;

extern WbcFetch *wbc_fetch_take(int flight, TimestampTz now);
extern WbcUrgency wbc_fetch_urgency(WbcFetch *fetch, TimestampTz now);
extern WbcAdmission wbc_fetch_ask(WbcFetch *fetch, TimestampTz now,
								  TimestampTz *when);
extern bool wbc_fetch_launch(WbcFetch *fetch, WbcHttp *http, TimestampTz now);
extern void wbc_fetch_finish(WbcFetch *fetch, const WbcHttpResponse *response,
							 TimestampTz now);
extern void wbc_fetch_refuse(WbcFetch *fetch, WbcAdmission why,
							 TimestampTz when, TimestampTz now);
extern void wbc_fetch_abandon(WbcFetch *fetch);

#endif							/* WBC_FETCH_H */
