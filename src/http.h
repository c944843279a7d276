/*-------------------------------------------------------------------------
 *
 * http.h
 *	  GET requests over libcurl, many at once, on one pollable descriptor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_HTTP_H
#define WBC_HTTP_H

#include "nodes/pg_list.h"
#include "wbcache.h"

typedef struct WbcHttp WbcHttp;

typedef struct WbcHttpRequest
{
	const char *url;
	List	   *headers;		/* of char *, "Name: value"; copied */
	const char *etag;			/* "" or NULL: not conditional */
	const char *last_modified;	/* "" or NULL: not conditional */
	const char *ca_file;		/* NULL: the system's */
	int			timeout_ms;
	int			connect_timeout_ms;
	size_t		max_body;		/* bytes, after decompression */
	bool		follow_redirects;	/* same scheme, host and port only */
	void	   *owner;			/* handed back with the response */
} WbcHttpRequest;

typedef enum WbcHttpOutcome
{
	WBC_HTTP_OK,				/* 200, body is complete */
	WBC_HTTP_NOT_MODIFIED,		/* 304, to a conditional request */
	WBC_HTTP_STATUS,			/* any other status */
	WBC_HTTP_REDIRECT,			/* a redirect that must not be followed */
	WBC_HTTP_TOO_LARGE,			/* body above max_body */
	WBC_HTTP_TIMEOUT,
	WBC_HTTP_UNREACHABLE		/* no connection, TLS refused, reset, ... */
} WbcHttpOutcome;

/* Valid during the callback only. */
typedef struct WbcHttpResponse
{
	void	   *owner;
	WbcHttpOutcome outcome;
	int			status;			/* 0 when none came */
	const char *body;			/* NUL-terminated; "" unless OK */
	size_t		body_len;
	/* both "" if not given, not fit to be kept, or neither 200 nor 304 */
	char		etag[WBC_VALIDATOR_MAX + 1];
	char		last_modified[WBC_VALIDATOR_MAX + 1];
	int64		retry_after_us; /* from now; -1: not given */
	char		detail[256];	/* "origin: what went wrong" in ASCII, without
								 * path, query or secrets; "" if all is well */
} WbcHttpResponse;

typedef void (*WbcHttpDone) (const WbcHttpResponse *response, void *arg);

extern WbcHttp *wbc_http_create(void);
extern int	wbc_http_descriptor(WbcHttp *http);
extern long wbc_http_timeout(WbcHttp *http);
extern bool wbc_http_start(WbcHttp *http, const WbcHttpRequest *request);
extern void wbc_http_run(WbcHttp *http, WbcHttpDone done, void *arg);

#endif							/* WBC_HTTP_H */
