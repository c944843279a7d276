/*-------------------------------------------------------------------------
 *
 * fetcher.c
 *	  The background worker that does all HTTP of a database.
 *
 * Layer 5.  One loop, which sleeps in one place: on its latch (somebody made
 * a flight, a signal came) and on libcurl's descriptor.  It never holds a
 * transaction while it sleeps, and runs no user's SQL.
 *
 * A flight taken from the lane waits on the list "waiting" until its server
 * admits a request, and is on the list "sent" until the answer is there.  What
 * somebody waits for goes before what refreshes a stale value, and that before
 * what no client has asked for.  Nothing waits longer than wbcache.max_wait here.
 *
 * When the process ends, for whatever reason short of a crash, leave_work()
 * lets go of what it holds in shared memory; the flights stay, and the next
 * fetcher starts them again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "ahead.h"
#include "compat.h"
#include "endpoint.h"
#include "fetch.h"
#include "fetcher.h"
#include "flight.h"
#include "guc.h"
#include "http.h"
#include "memory.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Longest sleep; nothing is due then, it only bounds the wait. */
#define SLEEP_MAX	(60 * USECS_PER_SEC)

static WbcHttp *http;
static int	lane = -1;
static dlist_head waiting = DLIST_STATIC_INIT(waiting);
static dlist_head sent = DLIST_STATIC_INIT(sent);

static void
take_flights(TimestampTz now)
{
	int			flight;

	while ((flight = wbc_flight_next(lane, WBC_CARRIER_FETCHER)) >= 0)
	{
		WbcFetch   *fetch = wbc_fetch_take(flight, now);

		if (fetch != NULL)
			dlist_push_tail(&waiting, &fetch->node);
	}
}

/*
 * Starts a fetch that waits, or refuses it, or lets it wait on.  Returns when
 * to come back to it at the latest.
 */
static TimestampTz
try_fetch(WbcFetch *fetch, TimestampTz now)
{
	TimestampTz give_up_at = fetch->taken_at + (int64) wbc_guc_max_wait * 1000;
	TimestampTz when = now;
	WbcAdmission admission = wbc_fetch_ask(fetch, now, &when);
	bool		refuse = false;

	switch (admission)
	{
		case WBC_ADMIT_GO:
			dlist_delete(&fetch->node);
			if (wbc_fetch_launch(fetch, http, now))
				dlist_push_tail(&sent, &fetch->node);
			return now + SLEEP_MAX;
		case WBC_ADMIT_BUSY:
			when = give_up_at;
			refuse = give_up_at <= now;
			break;
		case WBC_ADMIT_RATE_LIMITED:
		case WBC_ADMIT_PAUSED:
			refuse = when > give_up_at || give_up_at <= now;
			break;
		case WBC_ADMIT_BREAKER_OPEN:
			refuse = true;
			break;
	}
	if (refuse)
	{
		dlist_delete(&fetch->node);
		wbc_fetch_refuse(fetch, admission, when, now);
		return now + SLEEP_MAX;
	}
	return when;
}

/*
 * Goes over what waits, the most urgent first.  Returns when to do
 * so again at the latest.
 */
static TimestampTz
try_all(TimestampTz now)
{
	TimestampTz next = now + SLEEP_MAX;

	for (WbcUrgency urgency = 0; urgency < WBC_URGENCIES; urgency++)
	{
		dlist_mutable_iter iter;

		dlist_foreach_modify(iter, &waiting)
		{
			WbcFetch   *fetch = dlist_container(WbcFetch, node, iter.cur);
			TimestampTz again;

			if (wbc_fetch_urgency(fetch, now) != urgency)
				continue;
			again = try_fetch(fetch, now);
			next = Min(next, again);
		}
	}
	return next;
}

static void
answer_came(const WbcHttpResponse *response, void *arg)
{
	WbcFetch   *fetch = response->owner;

	dlist_delete(&fetch->node);
	wbc_fetch_finish(fetch, response, GetCurrentTimestamp());
}

/*
 * Milliseconds until libcurl or something that waits wants to be seen to.
 */
static long
time_to_sleep(TimestampTz next)
{
	long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
	long		curl_ms = wbc_http_timeout(http);

	return curl_ms >= 0 ? Min(ms, curl_ms) : ms;
}

static void
leave_work(int code, Datum arg)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &waiting)
		wbc_fetch_abandon(dlist_container(WbcFetch, node, iter.cur));
	dlist_foreach_modify(iter, &sent)
		wbc_fetch_abandon(dlist_container(WbcFetch, node, iter.cur));
	wbc_upstream_abandon(MyDatabaseId, GetCurrentTimestamp());
	wbc_flight_close_lane(lane);
}

static WaitEventSet *
make_wait_set(void)
{
	WaitEventSet *set = wbc_compat_wait_set(3);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, wbc_http_descriptor(http),
					  NULL, NULL);
	return set;
}

/*
 * Connects to the database of the worker slot, and takes up its work.  Exits
 * quietly when another fetcher has it.
 */
static void
start_work(int slot)
{
	wbc_worker_connect(slot);
	wbc_memory_attach();
	http = wbc_http_create();
	lane = wbc_flight_open_lane(MyDatabaseId, WBC_CARRIER_FETCHER);
	if (lane < 0)
		proc_exit(0);
	before_shmem_exit(leave_work, 0);
}

/*
 * The postmaster's entry into a fetcher; the argument is its slot in the table
 * of workers.
 */
void
wbc_fetcher_main(Datum arg)
{
	static uint32 wait_event = 0;
	WaitEventSet *set;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	start_work(DatumGetInt32(arg));
	set = make_wait_set();
	wait_event = wbc_compat_wait_event("WbcacheFetcher");

	for (;;)
	{
		WaitEvent	events[3];
		TimestampTz now;
		TimestampTz next;

		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(0);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		now = GetCurrentTimestamp();
		next = wbc_ahead_run(now);
		take_flights(now);
		next = Min(next, try_all(now));

		(void) WaitEventSetWait(set, time_to_sleep(next), events,
								lengthof(events), wait_event);
		ResetLatch(MyLatch);
		wbc_http_run(http, answer_came, NULL);
		if (wbc_memory_dirt_is_urgent())
			wbc_worker_wake_loaders(MyDatabaseId);
	}
}
