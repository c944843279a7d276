/*-------------------------------------------------------------------------
 *
 * upstream.c
 *	  What is known of each upstream at run time: its breaker, its rate
 *	  limit and its counters, in shared memory.
 *
 * Layer 3.  A fixed table of slots, one for each foreign server in use, under
 * one LWLock.  Only the fetcher of a database changes the slots of its database
 * (that is where requests start and end); views take copies.  Anybody may make a
 * slot free for itself by evicting one that has nothing running.
 *
 * All functions but wbc_upstream_register need the shared memory: callers a
 * user can reach without shared_preload_libraries call wbc_shmem_require
 * before.
 *
 * Nothing that can throw happens under the lock: no ereport, no palloc.  The
 * log lines about the breaker are written after it is released.
 *
 * The life of a request, in the fetcher:
 *
 *	  slot = wbc_upstream_slot(...)		anew for each request
 *	  wbc_upstream_ask(slot, ...)		WBC_ADMIT_GO, or why not
 *	  wbc_upstream_starts(slot, ...)	before anybody asks again
 *	  wbc_upstream_ends(slot, ...)		exactly once for each start
 *
 * From start to end the slot cannot be evicted, so that its number stays
 * good; before and after, another fetcher may take it, if the table is full.
 * A number that is outdated, or -1, does no harm: nothing is counted then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "flight.h"
#include "shmem.h"
#include "upstream.h"

/* Longest pause that a Retry-After is believed to mean. */
#define PAUSE_MAX_MS		(60 * 60 * 1000)

/* Pause after a 429 that does not say for how long. */
#define PAUSE_DEFAULT_MS	1000

/* When to ask anew after a slot number has turned out to be outdated. */
#define ASK_AGAIN_MS		100

/* All fields are guarded by the table's lock. */
typedef struct Slot
{
	WbcUpstream upstream;
	uint64		used_at;		/* the table's ticks at last use */
} Slot;

typedef struct UpstreamTable
{
	uint64		ticks;			/* counts calls of wbc_upstream_slot */
	Slot		slots[WBC_UPSTREAMS_MAX];
} UpstreamTable;

static UpstreamTable *table;	/* NULL without shared_preload_libraries */
static LWLock *lock;

static Size
table_size(void)
{
	return sizeof(UpstreamTable);
}

static void
table_attach(void *place, LWLockPadded *locks, bool found)
{
	table = place;
	lock = &locks[0].lock;
	if (!found)
		memset(table, 0, sizeof(UpstreamTable));
}

void
wbc_upstream_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_upstream",
		.nlocks = 1,
		.size = table_size,
		.attach = table_attach
	};

	wbc_shmem_register(&piece);
}

static void
slot_init(Slot *slot, Oid dbid, Oid serverid)
{
	memset(slot, 0, sizeof(Slot));
	slot->upstream.dbid = dbid;
	slot->upstream.serverid = serverid;
	wbc_breaker_init(&slot->upstream.breaker);
	wbc_ratelimit_init(&slot->upstream.limit);
}

/* Is a a better slot to take than b?  Free is best, then longest unused. */
static bool
better_victim(const Slot *a, const Slot *b)
{
	if (b == NULL)
		return true;
	if (!OidIsValid(b->upstream.dbid))
		return false;
	return !OidIsValid(a->upstream.dbid) || a->used_at < b->used_at;
}

/*
 * The number of this server's slot, made if there is none; -1 when all slots
 * have requests in progress.
 */
int
wbc_upstream_slot(Oid dbid, Oid serverid)
{
	Slot	   *chosen = NULL;
	bool		known = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_UPSTREAMS_MAX && !known; i++)
	{
		Slot	   *slot = &table->slots[i];

		known = slot->upstream.dbid == dbid &&
			slot->upstream.serverid == serverid;
		if (known || (slot->upstream.running == 0 &&
					  better_victim(slot, chosen)))
			chosen = slot;
	}
	if (chosen != NULL && !known)
		slot_init(chosen, dbid, serverid);
	if (chosen != NULL)
		chosen->used_at = ++table->ticks;
	LWLockRelease(lock);

	return chosen == NULL ? -1 : (int) (chosen - table->slots);
}

/*
 * The slot of this number, or NULL if it is -1 or has become another
 * server's.  Needs the lock.
 */
static WbcUpstream *
slot_of(int slot, const WbcServer *server)
{
	WbcUpstream *upstream;

	Assert(slot < WBC_UPSTREAMS_MAX);
	if (slot < 0)
		return NULL;
	upstream = &table->slots[slot].upstream;
	if (upstream->dbid != MyDatabaseId ||
		upstream->serverid != server->serverid)
		return NULL;
	return upstream;
}

/*
 * Keep what the options say, and let no wait be longer than they allow now:
 * the cooldown may have been altered, or the clock set back.  Needs the lock.
 */
static void
apply_options(WbcUpstream *upstream, const WbcServer *server, TimestampTz now)
{
	TimestampTz latest;

	upstream->rate_requests = server->rate_requests;
	upstream->rate_window_ms = server->rate_window_ms;

	latest = TimestampTzPlusMilliseconds(now, server->breaker_cooldown_ms);
	upstream->breaker.retry_at = Min(upstream->breaker.retry_at, latest);
	latest = TimestampTzPlusMilliseconds(now, PAUSE_MAX_MS);
	upstream->limit.paused_until = Min(upstream->limit.paused_until, latest);
}

/*
 * What the breaker says.  The probe waits until nothing else is in progress,
 * so that what ends while half-open is the probe.  Needs the lock.
 */
static WbcAdmission
ask_breaker(const WbcUpstream *upstream, const WbcServer *server,
			TimestampTz now, TimestampTz *when)
{
	const WbcBreaker *breaker = &upstream->breaker;

	if (!wbc_breaker_admits(breaker, now))
	{
		*when = breaker->retry_at;
		if (breaker->state == WBC_BREAKER_HALF_OPEN)
			*when = TimestampTzPlusMilliseconds(*when, server->timeout_ms);
		*when = Max(*when, now);
		return WBC_ADMIT_BREAKER_OPEN;
	}
	if (breaker->state == WBC_BREAKER_OPEN && upstream->running > 0)
		return WBC_ADMIT_BUSY;
	return WBC_ADMIT_GO;
}

/*
 * Everything together.  A request in advance may use a part of what there is
 * only.  Needs the lock.
 */
static WbcAdmission
ask(const WbcUpstream *upstream, const WbcServer *server, bool in_advance,
	TimestampTz now, TimestampTz *when)
{
	WbcAdmission admission = ask_breaker(upstream, server, now, when);
	int			connections = server->max_connections;
	int			requests = server->rate_requests;

	if (admission != WBC_ADMIT_GO)
		return admission;

	if (in_advance)
	{
		connections = wbc_flight_share_in_advance(connections);
		requests = wbc_flight_share_in_advance(requests);
	}
	*when = wbc_ratelimit_next(&upstream->limit, requests,
							   server->rate_window_ms, now);
	if (upstream->limit.paused_until > now)
		return WBC_ADMIT_PAUSED;
	if (*when > now)
		return WBC_ADMIT_RATE_LIMITED;
	if (upstream->running >= connections)
		return WBC_ADMIT_BUSY;
	return WBC_ADMIT_GO;
}

/*
 * May a request to this server start now?  *when is set to the time to ask
 * again; for WBC_ADMIT_BUSY, which ends with a request and not at a time, and
 * for WBC_ADMIT_GO it is now.  in_advance: no client has asked for it.
 */
WbcAdmission
wbc_upstream_ask(int slot, const WbcServer *server, bool in_advance,
				 TimestampTz now, TimestampTz *when)
{
	WbcAdmission admission;
	WbcUpstream *upstream;

	*when = now;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	upstream = slot_of(slot, server);
	if (upstream != NULL)
	{
		apply_options(upstream, server, now);
		admission = ask(upstream, server, in_advance, now, when);
	}
	else
	{
		*when = TimestampTzPlusMilliseconds(now, ASK_AGAIN_MS);
		admission = WBC_ADMIT_RATE_LIMITED;
	}
	LWLockRelease(lock);

	return admission;
}

/* A request starts that wbc_upstream_ask has let go. */
void
wbc_upstream_starts(int slot, const WbcServer *server, TimestampTz now)
{
	WbcUpstream *upstream;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	upstream = slot_of(slot, server);
	if (upstream != NULL)
	{
		wbc_breaker_starts(&upstream->breaker, now);
		wbc_ratelimit_take(&upstream->limit, server->rate_window_ms, now);
		upstream->running++;
		upstream->requests++;
	}
	LWLockRelease(lock);
}

/* Move the breaker.  True if its state changed.  Needs the lock. */
static bool
move_breaker(WbcBreaker *breaker, const WbcServer *server,
			 WbcUpstreamOutcome outcome, TimestampTz now)
{
	switch (outcome)
	{
		case WBC_UPSTREAM_VALUE:
		case WBC_UPSTREAM_NOT_MODIFIED:
		case WBC_UPSTREAM_REJECTED:
			return wbc_breaker_succeeds(breaker);
		case WBC_UPSTREAM_THROTTLED:
			/* says nothing about what it would answer, but it is alive */
			return breaker->state == WBC_BREAKER_HALF_OPEN &&
				wbc_breaker_succeeds(breaker);
		case WBC_UPSTREAM_BROKEN:
			return wbc_breaker_fails(breaker, server->breaker_failures,
									 server->breaker_cooldown_ms, now);
	}
	return false;				/* keep compiler quiet */
}

/*
 * Obey a Retry-After, of a 503 as well as of a 429.  A 429 without one pauses
 * until the end of the rate window, or for a second.  Needs the lock.
 */
static void
pause_if_asked(WbcRateLimit *limit, const WbcServer *server,
			   WbcUpstreamOutcome outcome, int64 retry_after_us,
			   TimestampTz now)
{
	TimestampTz latest = TimestampTzPlusMilliseconds(now, PAUSE_MAX_MS);
	TimestampTz until;

	if (outcome != WBC_UPSTREAM_THROTTLED && outcome != WBC_UPSTREAM_BROKEN)
		return;

	if (retry_after_us >= 0)
		until = now + Min(retry_after_us, latest - now);
	else if (outcome == WBC_UPSTREAM_BROKEN)
		return;
	else
	{
		until = TimestampTzPlusMilliseconds(limit->window_start,
											server->rate_window_ms);
		if (server->rate_requests == 0 || until <= now)
			until = TimestampTzPlusMilliseconds(now, PAUSE_DEFAULT_MS);
	}
	wbc_ratelimit_pause(limit, Min(until, latest));
}

/* Count the end of a request; error is NULL unless it failed.  Needs the lock. */
static void
count_end(WbcUpstream *upstream, WbcUpstreamOutcome outcome,
		  const char *error, int error_len, TimestampTz now)
{
	upstream->running--;
	switch (outcome)
	{
		case WBC_UPSTREAM_VALUE:
			upstream->successes++;
			return;
		case WBC_UPSTREAM_NOT_MODIFIED:
			upstream->not_modified++;
			return;
		case WBC_UPSTREAM_REJECTED:
		case WBC_UPSTREAM_THROTTLED:
		case WBC_UPSTREAM_BROKEN:
			break;
	}
	upstream->failures++;
	memcpy(upstream->last_error, error, error_len);
	upstream->last_error[error_len] = '\0';
	upstream->last_error_at = now;
}

/*
 * Tell the log that the breaker has opened or closed.  A probe that failed is
 * not worth a line: the breaker was open and is open.
 */
static void
log_breaker(const WbcServer *server, WbcBreakerState before,
			const WbcBreaker *after, const char *error)
{
	if (after->state == WBC_BREAKER_CLOSED)
		ereport(LOG,
				(errmsg("circuit breaker of server \"%s\" is closed again",
						server->name)));
	else if (before == WBC_BREAKER_CLOSED)
		ereport(LOG,
				(errmsg("circuit breaker of server \"%s\" is open",
						server->name),
				 errdetail("%d requests in a row have failed, the last one with: %s. One request will try again in %g s.",
						   after->failures, error,
						   server->breaker_cooldown_ms / 1000.0)));
}

/*
 * A request has ended.  retry_after_us is the Retry-After from now, or -1;
 * error says in short what went wrong, may be NULL, and is kept for the view.
 * Throws only if the log line of a breaker runs out of memory, when all else
 * is done.
 */
void
wbc_upstream_ends(int slot, const WbcServer *server,
				  WbcUpstreamOutcome outcome, int64 retry_after_us,
				  const char *error, TimestampTz now)
{
	const char *words = error == NULL ? "" : error;
	int			len = pg_mbcliplen(words, strlen(words),
								   sizeof(((WbcUpstream *) NULL)->last_error) - 1);
	WbcBreakerState before = WBC_BREAKER_CLOSED;
	WbcBreaker	after;
	WbcUpstream *upstream;
	bool		changed = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	upstream = slot_of(slot, server);
	if (upstream != NULL && upstream->running > 0)
	{
		before = upstream->breaker.state;
		changed = move_breaker(&upstream->breaker, server, outcome, now);
		pause_if_asked(&upstream->limit, server, outcome, retry_after_us, now);
		count_end(upstream, outcome, words, len, now);
		after = upstream->breaker;
	}
	LWLockRelease(lock);

	if (changed)
		log_breaker(server, before, &after, words);
}

/*
 * The fetcher of this database is going, or a new one finds what a dead one
 * has left: nothing is in progress any more.  Throws nothing, so that it can
 * be called in an exit callback.
 */
void
wbc_upstream_abandon(Oid dbid, TimestampTz now)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_UPSTREAMS_MAX; i++)
	{
		WbcUpstream *upstream = &table->slots[i].upstream;

		if (upstream->dbid != dbid)
			continue;
		upstream->running = 0;
		wbc_breaker_abandons(&upstream->breaker, now);
	}
	LWLockRelease(lock);
}

/* Count a fetch that wbc_upstream_ask has not let go, once for each fetch. */
void
wbc_upstream_count_refused(int slot, WbcAdmission why)
{
	WbcUpstream *upstream;

	if (slot < 0)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	upstream = &table->slots[slot].upstream;
	if (upstream->dbid == MyDatabaseId)
	{
		switch (why)
		{
			case WBC_ADMIT_BREAKER_OPEN:
				upstream->refused++;
				break;
			case WBC_ADMIT_RATE_LIMITED:
			case WBC_ADMIT_PAUSED:
				upstream->rate_limited++;
				break;
			case WBC_ADMIT_GO:
			case WBC_ADMIT_BUSY:
				break;
		}
	}
	LWLockRelease(lock);
}

/*
 * Copy this database's slots to out, which has room for WBC_UPSTREAMS_MAX of
 * them, and return how many there are.  They may be of servers that have been
 * dropped since.
 */
int
wbc_upstream_snapshot(Oid dbid, WbcUpstream *out)
{
	int			count = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < WBC_UPSTREAMS_MAX; i++)
	{
		if (table->slots[i].upstream.dbid == dbid)
			out[count++] = table->slots[i].upstream;
	}
	LWLockRelease(lock);

	return count;
}

/*
 * Set this database's counters and last errors back.  Breaker, rate limit and
 * what is in progress are state and stay.
 */
void
wbc_upstream_reset(Oid dbid)
{
#define RESET_FIELD(name, description) upstream->name = 0;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_UPSTREAMS_MAX; i++)
	{
		WbcUpstream *upstream = &table->slots[i].upstream;

		if (upstream->dbid != dbid)
			continue;
		WBC_UPSTREAM_COUNTERS(RESET_FIELD)
		upstream->requests = upstream->running; /* each will have an end */
		upstream->last_error[0] = '\0';
		upstream->last_error_at = 0;
	}
	LWLockRelease(lock);
#undef RESET_FIELD
}
