/*-------------------------------------------------------------------------
 *
 * transfer.h
 *	  One GET request as a handle of libcurl's.  For http.c alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_TRANSFER_H
#define WBC_TRANSFER_H

#include <curl/curl.h>

#include "lib/ilist.h"

#include "http.h"

/* From wbc_http_start until done() has returned.  malloc'ed throughout. */
typedef struct WbcTransfer
{
	dlist_node	node;			/* in the engine's list of finished ones */
	CURL	   *easy;
	struct curl_slist *headers;
	char	   *origin;			/* scheme://host:port; NULL: not a URL */
	void	   *owner;
	int64		give_up_at;		/* monotonic ms */
	bool		conditional;
	bool		follow_redirects;
	int			redirects;		/* followed so far */
	size_t		max_body;
	char	   *body;			/* NULL, or NUL-terminated */
	size_t		body_len;
	size_t		body_room;
	size_t		discarded;		/* bytes of bodies of no interest */
	bool		too_large;
	CURLcode	result;			/* set by the engine when finished */
	char		error[CURL_ERROR_SIZE]; /* libcurl's words, or "" */
} WbcTransfer;

extern int64 wbc_transfer_clock_ms(void);
extern WbcTransfer *wbc_transfer_create(const WbcHttpRequest *request);
extern void wbc_transfer_free(WbcTransfer *transfer);
extern bool wbc_transfer_redirect(WbcTransfer *transfer);
extern void wbc_transfer_respond(const WbcTransfer *transfer,
								 WbcHttpResponse *response);

#endif							/* WBC_TRANSFER_H */
