/*-------------------------------------------------------------------------
 *
 * http.c
 *	  GET requests over libcurl, many at once, on one pollable descriptor.
 *
 * Layer 3.  libcurl says in callbacks which sockets it waits for and when it
 * wants to be called at the latest.  The sockets are kept in an epoll set, the
 * time in the struct; the caller waits for the set's descriptor and for that
 * time together with whatever else it waits for, and then calls wbc_http_run.
 * Nothing here ever waits.
 *
 * Rules that keep libcurl and PostgreSQL apart:
 *
 * - libcurl resolves names in threads.  All signals are blocked around the
 *	 calls that may start one, so that a signal handler of ours never runs in
 *	 a thread of its.
 * - A callback of libcurl's must return: no ereport, no palloc, there and in
 *	 everything it calls (see transfer.c, which has what belongs to one
 *	 request).
 * - libcurl is never inside of a call of ours when done() is called.  So
 *	 done() may start further requests, and may throw: the response it was
 *	 given is then freed, and those not delivered yet are delivered, by the
 *	 next wbc_http_run.
 * - SIGPIPE must be ignored by the process, as it is in every PostgreSQL one.
 *
 * The only caller is the fetcher, whose process is the only one that
 * initialises libcurl.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"

#include "http.h"
#include "transfer.h"

/* Connections open, and of these idle ones, to all servers together. */
#define CONNECTIONS_MAX		512L
#define IDLE_MAX			128L

struct WbcHttp
{
	CURLM	   *multi;
	int			epoll_fd;
	int64		call_at;		/* monotonic ms; -1: libcurl waits for none */
	int			watch_errno;	/* of an epoll_ctl that failed, to be logged */
	dlist_head	finished;		/* WbcTransfers to be handed to done() */
	WbcTransfer *delivering;	/* the one done() has, or threw over */
};

/* Block all signals but those that a fault of the thread itself raises. */
static void
block_signals(sigset_t *saved)
{
	sigset_t	mask;

	sigfillset(&mask);
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGFPE);
	sigdelset(&mask, SIGILL);
	sigdelset(&mask, SIGABRT);
	sigdelset(&mask, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &mask, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/*
 * CURLMOPT_SOCKETFUNCTION: watch or forget a socket.  A socket that cannot be
 * watched is no error for libcurl, which would give up all transfers: the one
 * concerned runs into its timeout.
 */
static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	WbcHttp    *http = arg;
	struct epoll_event event;

	memset(&event, 0, sizeof(event));
	event.data.fd = fd;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}

	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(http->epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0 &&
		(errno != ENOENT ||
		 epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0))
		http->watch_errno = errno;
	return 0;
}

/* CURLMOPT_TIMERFUNCTION: when libcurl wants to be called at the latest. */
static int
set_timer(CURLM *multi, long timeout_ms, void *arg)
{
	WbcHttp    *http = arg;

	http->call_at = timeout_ms < 0 ? -1 : wbc_transfer_clock_ms() + timeout_ms;
	return 0;
}

/* Let libcurl do what it can without waiting.  Signals must be blocked. */
static CURLMcode
drive(WbcHttp *http)
{
	struct epoll_event events[64];
	int			count = epoll_wait(http->epoll_fd, events, lengthof(events), 0);
	int			running;
	CURLMcode	rc = CURLM_OK;

	for (int i = 0; i < count && rc == CURLM_OK; i++)
	{
		int			what = 0;

		if (events[i].events & EPOLLIN)
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			what |= CURL_CSELECT_ERR;
		rc = curl_multi_socket_action(http->multi, events[i].data.fd, what,
									  &running);
	}

	if (rc == CURLM_OK && http->call_at >= 0 && wbc_transfer_clock_ms() >= http->call_at)
	{
		http->call_at = -1;
		rc = curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0,
									  &running);
	}
	return rc;
}

/*
 * Move what has finished to the list, or send it on to where it was
 * redirected.  Signals must be blocked.
 */
static void
collect_finished(WbcHttp *http)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		CURLcode	result = message->data.result;
		char	   *private = NULL;
		WbcTransfer *transfer;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
		transfer = (WbcTransfer *) private;
		curl_multi_remove_handle(http->multi, easy);
		if (wbc_transfer_redirect(transfer) &&
			curl_multi_add_handle(http->multi, easy) == CURLM_OK)
			continue;
		transfer->result = result;
		dlist_push_tail(&http->finished, &transfer->node);
	}
}

/* Hand what has finished to done(), one at a time. */
static void
deliver_finished(WbcHttp *http, WbcHttpDone done, void *arg)
{
	if (http->delivering != NULL)	/* done() threw last time */
		wbc_transfer_free(http->delivering);
	http->delivering = NULL;

	while (!dlist_is_empty(&http->finished))
	{
		dlist_node *node = dlist_pop_head_node(&http->finished);
		WbcHttpResponse response;

		http->delivering = dlist_container(WbcTransfer, node, node);
		wbc_transfer_respond(http->delivering, &response);
		done(&response, arg);
		wbc_transfer_free(http->delivering);
		http->delivering = NULL;
	}
}

/* Set the multi handle up.  False if libcurl does not do as told. */
static bool
set_multi(WbcHttp *http)
{
	CURLM	   *multi = http->multi;

	return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, http) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_TIMERDATA, http) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, IDLE_MAX) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTIONS_MAX) == CURLM_OK;
}

/*
 * Initialise libcurl and make an engine.  It lives as long as the process, so
 * there is no function that frees it.  Throws if it cannot be had.
 */
WbcHttp *
wbc_http_create(void)
{
	WbcHttp    *http = MemoryContextAllocZero(TopMemoryContext, sizeof(WbcHttp));

	http->call_at = -1;
	dlist_init(&http->finished);

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl")));

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create an epoll descriptor: %m")));
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (http->epoll_fd < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create an epoll descriptor: %m")));
	}

	http->multi = curl_multi_init();
	if (http->multi == NULL || !set_multi(http))
	{
		curl_multi_cleanup(http->multi);
		close(http->epoll_fd);
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not set up libcurl")));
	}
	return http;
}

/* The descriptor that is readable when wbc_http_run has something to do. */
int
wbc_http_descriptor(WbcHttp *http)
{
	return http->epoll_fd;
}

/* Call wbc_http_run after so many ms at the latest; -1: no need to. */
long
wbc_http_timeout(WbcHttp *http)
{
	if (!dlist_is_empty(&http->finished))
		return 0;
	if (http->call_at < 0)
		return -1;
	return (long) Max(http->call_at - wbc_transfer_clock_ms(), 0);
}

/*
 * Start a request; nothing of *request is needed afterwards but its owner.
 * Its response comes from a later wbc_http_run, never from within this call,
 * and also when the request cannot even be sent.  False, and no response
 * comes, if there is no memory.  Does not throw.
 */
bool
wbc_http_start(WbcHttp *http, const WbcHttpRequest *request)
{
	WbcTransfer *transfer = wbc_transfer_create(request);
	sigset_t	saved;
	CURLMcode	rc;

	if (transfer == NULL)
		return false;

	block_signals(&saved);
	rc = curl_multi_add_handle(http->multi, transfer->easy);
	restore_signals(&saved);
	if (rc != CURLM_OK)
	{
		wbc_transfer_free(transfer);
		return false;
	}
	return true;
}

/*
 * Send and receive what is possible without waiting, then hand each finished
 * request's response to done().  Throws what done() throws, and an error when
 * libcurl itself fails, after which the engine should not be used any more.
 */
void
wbc_http_run(WbcHttp *http, WbcHttpDone done, void *arg)
{
	sigset_t	saved;
	CURLMcode	rc;

	block_signals(&saved);
	rc = drive(http);
	collect_finished(http);
	restore_signals(&saved);

	if (http->watch_errno != 0)
	{
		errno = http->watch_errno;
		http->watch_errno = 0;
		ereport(LOG,
				(errcode_for_socket_access(),
				 errmsg("could not watch a socket: %m")));
	}
	deliver_finished(http, done, arg);
	if (rc != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("libcurl has failed: %s", curl_multi_strerror(rc))));
}
