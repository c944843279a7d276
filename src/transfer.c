/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  One GET request as a handle of libcurl's: its options, its body as it
 *	  comes in, where a redirect leads, and what became of it.
 *
 * Layer 3.  http.c drives many of these.  No function here throws or uses
 * palloc, since most of them run while libcurl is at work or signals are
 * blocked; memory is malloc's, and want of it is reported by the result.
 *
 * Nothing an upstream sends is trusted: bodies are cut off at the size the
 * caller allows, texts that go into messages are reduced to printable ASCII,
 * validators that could not be sent back are dropped, and a redirect is
 * followed to the same origin only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "datatype/timestamp.h"

#include "transfer.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "wbcache needs libcurl 7.87 or later"
#endif

#define USER_AGENT			"wbcache/0.1"

/* Redirects followed for one request. */
#define REDIRECTS_MAX		5

/* A connection older than this is not used again: its name may have moved. */
#define CONNECTION_AGE_MAX	600L	/* seconds */

/* A changed file of CA certificates is noticed after this time. */
#define CA_CACHE_AGE_MAX	300L	/* seconds */

/*
 * Bytes that are read and thrown away of an answer whose body is of no
 * interest, to be able to use the connection again.
 */
#define DISCARD_MAX			(256 * 1024)

/* First allocation for a body whose length is not known. */
#define BODY_ROOM_MIN		(16 * 1024)

/* A Retry-After above this means this. */
#define RETRY_AFTER_MAX		(24 * 60 * 60)	/* seconds */

#define HTTP_OK				200
#define HTTP_NOT_MODIFIED	304

/* The clock of give_up_at, and of the engine's timer. */
int64
wbc_transfer_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The HTTP status of the answer so far; 0 if none has come. */
static long
status_of(const WbcTransfer *transfer)
{
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* Make room for more bytes and a NUL.  False if there is no memory. */
static bool
reserve_body(WbcTransfer *transfer, size_t more)
{
	size_t		needed = transfer->body_len + more + 1;
	size_t		room = Max(transfer->body_room * 2, BODY_ROOM_MIN);
	curl_off_t	announced = -1;
	char	   *body;

	if (needed <= transfer->body_room)
		return true;

	if (transfer->body == NULL)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
						  &announced);
		if (announced >= 0)
			room = (size_t) announced + 1;
	}
	room = Max(Min(room, transfer->max_body + 1), needed);
	body = realloc(transfer->body, room);
	if (body == NULL)
		return false;
	transfer->body = body;
	transfer->body_room = room;
	return true;
}

/*
 * CURLOPT_WRITEFUNCTION: collect the decompressed body.  To return less than
 * was given ends the transfer.
 */
static size_t
collect_body(char *data, size_t size, size_t nmemb, void *arg)
{
	WbcTransfer *transfer = arg;
	size_t		len = size * nmemb;

	if (status_of(transfer) != HTTP_OK)
	{
		transfer->discarded += len;
		return transfer->discarded <= DISCARD_MAX ? len : 0;
	}
	if (len > transfer->max_body - transfer->body_len)
	{
		transfer->too_large = true;
		return 0;
	}
	if (!reserve_body(transfer, len))
		return 0;
	memcpy(transfer->body + transfer->body_len, data, len);
	transfer->body_len += len;
	transfer->body[transfer->body_len] = '\0';
	return len;
}

/*
 * scheme://host:port of a URL, malloc'ed, the port always said.  NULL if it
 * is not a URL, if it holds a user name or password, or without memory.
 */
static char *
origin_of(const char *url)
{
	CURLU	   *parsed = curl_url();
	char	   *scheme = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	char	   *origin = NULL;

	if (parsed != NULL &&
		curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
	{
		size_t		size = strlen(scheme) + strlen(host) + strlen(port) + 5;

		origin = malloc(size);
		if (origin != NULL)
			snprintf(origin, size, "%s://%s:%s", scheme, host, port);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(parsed);
	return origin;
}

void
wbc_transfer_free(WbcTransfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	free(transfer->origin);
	free(transfer->body);
	free(transfer);
}

/* Add "name: value" to the headers of a request.  False without memory. */
static bool
add_header(WbcTransfer *transfer, const char *name, const char *value)
{
	char		line[WBC_VALIDATOR_MAX + 64];
	struct curl_slist *longer;

	snprintf(line, sizeof(line), "%s: %s", name, value);
	longer = curl_slist_append(transfer->headers, line);
	if (longer != NULL)
		transfer->headers = longer;
	return longer != NULL;
}

/* A validator that came from an upstream and may be sent back to it? */
static bool
is_validator(const char *value)
{
	size_t		len = 0;

	if (value == NULL)
		return false;
	for (; value[len] != '\0'; len++)
	{
		if (value[len] < ' ' || value[len] > '~')
			return false;
	}
	return len > 0 && len <= WBC_VALIDATOR_MAX;
}

/* The request's own headers, then ours.  False without memory. */
static bool
set_headers(WbcTransfer *transfer, const WbcHttpRequest *request)
{
	bool		accept = false;
	ListCell   *lc;

	foreach(lc, request->headers)
	{
		const char *line = lfirst(lc);
		struct curl_slist *longer = curl_slist_append(transfer->headers, line);

		if (longer == NULL)
			return false;
		transfer->headers = longer;
		accept |= pg_strncasecmp(line, "Accept:", 7) == 0;
	}
	if (!accept && !add_header(transfer, "Accept", "application/json"))
		return false;

	if (is_validator(request->etag))
	{
		transfer->conditional = true;
		if (!add_header(transfer, "If-None-Match", request->etag))
			return false;
	}
	if (is_validator(request->last_modified))
	{
		transfer->conditional = true;
		if (!add_header(transfer, "If-Modified-Since", request->last_modified))
			return false;
	}
	return curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER,
							transfer->headers) == CURLE_OK;
}

/* Set an option or leave the function with false. */
#define SET(option, value) \
	do { \
		if (curl_easy_setopt(easy, option, value) != CURLE_OK) \
			return false; \
	} while (0)

/*
 * What is the same for all requests.  False without memory.
 *
 * Where the system has its CA certificates in one file, the folder of them is
 * not looked at: with it libcurl would not cache the certificates, and read
 * the file anew for each connection, which takes tens of ms.
 */
static bool
set_policy(CURL *easy)
{
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_ACCEPT_ENCODING, "");
	SET(CURLOPT_USERAGENT, USER_AGENT);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, 30L);
	SET(CURLOPT_TCP_KEEPINTVL, 10L);
	SET(CURLOPT_MAXLIFETIME_CONN, CONNECTION_AGE_MAX);

	/* not every build of libcurl knows these, and all goes without them */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_AGE_MAX);
	if (curl_version_info(CURLVERSION_NOW)->cainfo != NULL)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	return true;
}

/* What belongs to one request.  False without memory. */
static bool
set_request(WbcTransfer *transfer, const WbcHttpRequest *request)
{
	CURL	   *easy = transfer->easy;

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_TIMEOUT_MS, (long) Max(request->timeout_ms, 1));
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) Max(request->connect_timeout_ms, 1));
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) request->max_body);
	if (request->ca_file != NULL)
	{
		SET(CURLOPT_CAINFO, request->ca_file);
		/* fails only where there is no such folder to look at */
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_WRITEFUNCTION, collect_body);
	SET(CURLOPT_WRITEDATA, transfer);
	return set_headers(transfer, request);
}

/* A transfer with its easy handle ready, or NULL without memory. */
WbcTransfer *
wbc_transfer_create(const WbcHttpRequest *request)
{
	WbcTransfer *transfer = calloc(1, sizeof(WbcTransfer));

	if (transfer == NULL)
		return NULL;
	transfer->owner = request->owner;
	transfer->max_body = request->max_body;
	transfer->follow_redirects = request->follow_redirects;
	transfer->give_up_at = wbc_transfer_clock_ms() + request->timeout_ms;
	transfer->origin = origin_of(request->url);
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !set_policy(transfer->easy) ||
		!set_request(transfer, request))
	{
		wbc_transfer_free(transfer);
		return NULL;
	}
	return transfer;
}

static bool
is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 ||
		status == 307 || status == 308;
}

/*
 * Prepare a finished transfer to be sent on to where the answer says.  False,
 * and it stays as it is, if there is no such place or it must not go there.
 */
bool
wbc_transfer_redirect(WbcTransfer *transfer)
{
	CURL	   *easy = transfer->easy;
	char	   *target = NULL;
	char	   *origin;
	bool		same;

	if (!transfer->follow_redirects || transfer->origin == NULL ||
		!is_redirect(status_of(transfer)) ||
		transfer->redirects >= REDIRECTS_MAX ||
		curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &target) != CURLE_OK ||
		target == NULL)
		return false;

	origin = origin_of(target);
	same = origin != NULL && pg_strcasecmp(origin, transfer->origin) == 0;
	free(origin);
	if (!same)
		return false;

	SET(CURLOPT_URL, target);
	SET(CURLOPT_TIMEOUT_MS,
		(long) Max(transfer->give_up_at - wbc_transfer_clock_ms(), 1));
	transfer->redirects++;
	transfer->discarded = 0;
	return true;
}

/*
 * How a finished transfer is to be called.  An answer other than 200 is judged
 * by its status, whatever became of its body.
 */
static WbcHttpOutcome
outcome_of(const WbcTransfer *transfer, long status)
{
	if (status == HTTP_NOT_MODIFIED && transfer->conditional)
		return WBC_HTTP_NOT_MODIFIED;
	if (is_redirect(status))
		return WBC_HTTP_REDIRECT;
	if (status > HTTP_OK)
		return WBC_HTTP_STATUS;
	if (transfer->result == CURLE_OK && status == HTTP_OK)
		return WBC_HTTP_OK;
	if (transfer->too_large || transfer->result == CURLE_FILESIZE_EXCEEDED)
		return WBC_HTTP_TOO_LARGE;
	if (transfer->result == CURLE_OPERATION_TIMEDOUT)
		return WBC_HTTP_TIMEOUT;
	return WBC_HTTP_UNREACHABLE;
}

/* Say why a redirect was not followed, without path and query. */
static void
describe_redirect(const WbcTransfer *transfer, long status, char *words,
				  size_t size)
{
	char	   *target = NULL;
	char	   *origin = NULL;

	curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &target);
	if (target != NULL)
		origin = origin_of(target);
	if (target == NULL)
		snprintf(words, size, "HTTP status %ld, a redirect to nowhere",
				 status);
	else if (origin == NULL)
		snprintf(words, size, "HTTP status %ld, a redirect to no valid URL",
				 status);
	else if (transfer->redirects >= REDIRECTS_MAX)
		snprintf(words, size, "HTTP status %ld, more than %d redirects",
				 status, REDIRECTS_MAX);
	else
		snprintf(words, size, "HTTP status %ld, a redirect to %s that is not followed",
				 status, origin);
	free(origin);
}

/*
 * Set the detail: empty if all is well.  What may come from the upstream is
 * reduced to printable ASCII, which is valid in every encoding.
 */
static void
describe(const WbcTransfer *transfer, WbcHttpResponse *response)
{
	long		status = response->status;
	char		words[CURL_ERROR_SIZE];

	switch (response->outcome)
	{
		case WBC_HTTP_OK:
		case WBC_HTTP_NOT_MODIFIED:
			return;
		case WBC_HTTP_STATUS:
			snprintf(words, sizeof(words), "HTTP status %ld", status);
			break;
		case WBC_HTTP_REDIRECT:
			describe_redirect(transfer, status, words, sizeof(words));
			break;
		case WBC_HTTP_TOO_LARGE:
			snprintf(words, sizeof(words), "the body is larger than %zu bytes",
					 transfer->max_body);
			break;
		case WBC_HTTP_TIMEOUT:
		case WBC_HTTP_UNREACHABLE:
			strlcpy(words, transfer->error[0] != '\0' ? transfer->error :
					curl_easy_strerror(transfer->result), sizeof(words));
			break;
	}

	snprintf(response->detail, sizeof(response->detail), "%s: %s",
			 transfer->origin != NULL ? transfer->origin : "invalid URL",
			 words);
	for (char *c = response->detail; *c != '\0'; c++)
	{
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
}

/* Copy a header field of the answer, or "" if it is not fit to be sent back. */
static void
copy_validator(const WbcTransfer *transfer, const char *name, char *out)
{
	struct curl_header *header;

	if (curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1,
						 &header) == CURLHE_OK &&
		is_validator(header->value))
		strlcpy(out, header->value, WBC_VALIDATOR_MAX + 1);
}

/*
 * The Retry-After of the answer, be it seconds or a date, as us from now; -1
 * without one that can be understood.  CURLINFO_RETRY_AFTER would not tell
 * that from 0.
 */
static int64
retry_after_of(const WbcTransfer *transfer)
{
	struct curl_header *header;
	int64		seconds = 0;
	const char *c;

	if (curl_easy_header(transfer->easy, "Retry-After", 0, CURLH_HEADER, -1,
						 &header) != CURLHE_OK)
		return -1;

	for (c = header->value; *c >= '0' && *c <= '9'; c++)
		seconds = Min(seconds * 10 + (*c - '0'), RETRY_AFTER_MAX);
	if (*c != '\0' || c == header->value)
	{
		time_t		date = curl_getdate(header->value, NULL);

		if (date == -1)
			return -1;
		seconds = (int64) date - (int64) time(NULL);
		seconds = Min(Max(seconds, 0), RETRY_AFTER_MAX);
	}
	return seconds * USECS_PER_SEC;
}

/* Fill in what became of a finished transfer; the body stays its own. */
void
wbc_transfer_respond(const WbcTransfer *transfer, WbcHttpResponse *response)
{
	memset(response, 0, sizeof(WbcHttpResponse));
	response->owner = transfer->owner;
	response->status = (int) status_of(transfer);
	response->outcome = outcome_of(transfer, response->status);
	response->retry_after_us = retry_after_of(transfer);
	response->body = "";
	if (response->outcome == WBC_HTTP_OK && transfer->body != NULL)
	{
		response->body = transfer->body;
		response->body_len = transfer->body_len;
	}
	if (response->outcome == WBC_HTTP_OK ||
		response->outcome == WBC_HTTP_NOT_MODIFIED)
	{
		copy_validator(transfer, "ETag", response->etag);
		copy_validator(transfer, "Last-Modified", response->last_modified);
	}
	describe(transfer, response);
}
