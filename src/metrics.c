/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  Counters in shared memory.
 *
 * Layer 2.  Counters are atomics that anybody adds to at any time, without a
 * lock: they only grow, but for a reset.  Which endpoint has which slot, the
 * windows, and every reset are guarded by one lock:
 *
 *	- who looks for a slot, frees one, resets, or puts snapshots into the windows
 *	  holds it exclusively, and so does nobody on the hit path: a process
 *	  remembers the slot of an endpoint with the endpoint itself;
 *	- who reads statistics holds it shared while it copies all that its view
 *	  shows, so that it sees a reset whole or not at all.
 *
 * Where one counter can't be above another, as a part and its whole, only the
 * parts are kept, and the views add them up: so no reset and no reader can meet
 * them in between.
 *
 * Should an endpoint be dropped and its slot be taken by another one, a
 * process that has not heard of it yet may add a last read to the new owner:
 * a wrong count by one is accepted, a lock on each hit is not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "metrics.h"
#include "shmem.h"
#include "window.h"

/* Slot 0 belongs to those who came when all others were taken. */
#define SLOT_SHARED	0

typedef struct Slot
{
	Oid			dbid;			/* InvalidOid: slot is free; lock */
	NameData	name;			/* lock */
	WbcWindow	window;			/* lock */
	WbcEndpointMetrics metrics;
} Slot;

typedef struct Metrics
{
	WbcCoalescerMetrics coalescer;
	TimestampTz snapped_at;		/* lock; when windows were last seen to */
	Slot		slots[WBC_METRICS_ENDPOINTS];
} Metrics;

/* What a window is about, in order. */
#define X(name, description) +1
StaticAssertDecl((0 WBC_ENDPOINT_COUNTERS(X)) == WBC_WINDOW_COUNTERS,
				 "a window has another number of counters");
#undef X

static Metrics *metrics;
static LWLock *lock;

/* ----------------------------------------------------------------
 * Making and zeroing.  Hold the lock, unless nobody else can be there.
 * ----------------------------------------------------------------
 */

static void
init_slot(Slot *slot)
{
#define X(name, description) pg_atomic_init_u64(&slot->metrics.name, 0);
	WBC_ENDPOINT_COUNTERS(X)
	WBC_SIDEBAR_COUNTERS(X)
#undef X
	for (WbcOperation operation = 0; operation < WBC_OPERATIONS; operation++)
		wbc_histogram_init(&slot->metrics.latency[operation]);
}

static void
zero_slot(Slot *slot, TimestampTz now)
{
#define X(name, description) pg_atomic_write_u64(&slot->metrics.name, 0);
	WBC_ENDPOINT_COUNTERS(X)
	WBC_SIDEBAR_COUNTERS(X)
#undef X
	for (WbcOperation operation = 0; operation < WBC_OPERATIONS; operation++)
		wbc_histogram_zero(&slot->metrics.latency[operation]);
	wbc_window_begin(&slot->window, now);
}

static void
zero_coalescer(void)
{
	WbcCoalescerMetrics *coalescer = &metrics->coalescer;

#define X(name, description) pg_atomic_write_u64(&coalescer->name, 0);
	WBC_COALESCER_FIELDS(X)
#undef X
	/* those who wait now are at least so many */
	pg_atomic_write_u32(&coalescer->max_waiters,
						pg_atomic_read_u32(&coalescer->waiters));
}

static void
init_metrics(void)
{
	memset(metrics, 0, sizeof(Metrics));
	pg_atomic_init_u32(&metrics->coalescer.waiters, 0);
	pg_atomic_init_u32(&metrics->coalescer.max_waiters, 0);
#define X(name, description) pg_atomic_init_u64(&metrics->coalescer.name, 0);
	WBC_COALESCER_FIELDS(X)
#undef X
	for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
		init_slot(&metrics->slots[i]);
}

static Size
metrics_size(void)
{
	return sizeof(Metrics);
}

static void
metrics_attach(void *place, LWLockPadded *locks, bool found)
{
	metrics = place;
	lock = &locks[0].lock;
	if (!found)
		init_metrics();
}

void
wbc_metrics_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_metrics",
		.nlocks = 1,
		.size = metrics_size,
		.attach = metrics_attach
	};

	wbc_shmem_register(&piece);
}

/* ----------------------------------------------------------------
 * Slots
 * ----------------------------------------------------------------
 */

/* The caller holds the lock.  Returns -1 when there is none. */
static int
find_slot(Oid dbid, const char *name)
{
	for (int i = SLOT_SHARED + 1; i < WBC_METRICS_ENDPOINTS; i++)
		if (metrics->slots[i].dbid == dbid &&
			strcmp(NameStr(metrics->slots[i].name), name) == 0)
			return i;
	return -1;
}

/*
 * The slot of an endpoint's counters, made if need be.  Never fails: when all
 * slots are taken it is the shared one.
 */
int
wbc_metrics_endpoint_slot(Oid dbid, const char *name, TimestampTz now)
{
	int			slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find_slot(dbid, name);
	if (slot < 0)
	{
		slot = find_slot(InvalidOid, "");
		if (slot > 0)
		{
			zero_slot(&metrics->slots[slot], now);
			metrics->slots[slot].dbid = dbid;
			strlcpy(NameStr(metrics->slots[slot].name), name, NAMEDATALEN);
		}
		else
			slot = SLOT_SHARED;
	}
	LWLockRelease(lock);

	return slot;
}

/*
 * The endpoint is gone; its slot is free.
 */
void
wbc_metrics_endpoint_forget(Oid dbid, const char *name)
{
	int			slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find_slot(dbid, name);
	if (slot > 0)
	{
		metrics->slots[slot].dbid = InvalidOid;
		NameStr(metrics->slots[slot].name)[0] = '\0';
	}
	LWLockRelease(lock);
}

/* ----------------------------------------------------------------
 * Counting.  No lock.
 * ----------------------------------------------------------------
 */

WbcEndpointMetrics *
wbc_metrics_endpoint(int slot)
{
	return &metrics->slots[slot].metrics;
}

WbcCoalescerMetrics *
wbc_metrics_coalescer(void)
{
	return &metrics->coalescer;
}

void
wbc_metrics_wait_begins(void)
{
	WbcCoalescerMetrics *coalescer = &metrics->coalescer;
	uint32		now = pg_atomic_add_fetch_u32(&coalescer->waiters, 1);
	uint32		max = pg_atomic_read_u32(&coalescer->max_waiters);

	while (now > max &&
		   !pg_atomic_compare_exchange_u32(&coalescer->max_waiters, &max, now))
		;
}

/*
 * Goes with every wbc_metrics_wait_begins(), also when the waiter was
 * cancelled.
 */
void
wbc_metrics_wait_ends(int64 microseconds)
{
	WbcCoalescerMetrics *coalescer = &metrics->coalescer;

	(void) pg_atomic_fetch_sub_u32(&coalescer->waiters, 1);
	wbc_metrics_count(&coalescer->waits);
	(void) pg_atomic_fetch_add_u64(&coalescer->wait_us, microseconds);
}

/*
 * An operation has taken so long.
 */
void
wbc_metrics_time(int slot, WbcOperation operation, int64 microseconds)
{
	wbc_histogram_add(&metrics->slots[slot].metrics.latency[operation],
					  microseconds * 1000);
}

/* ----------------------------------------------------------------
 * Windows
 * ----------------------------------------------------------------
 */

/* In the order of WBC_ENDPOINT_COUNTERS. */
static void
read_counters(Slot *slot, uint64 *count)
{
#define X(name, description) *count++ = pg_atomic_read_u64(&slot->metrics.name);
	WBC_ENDPOINT_COUNTERS(X)
#undef X
}

/*
 * Puts snapshots into the windows if it is time, and returns when it will be
 * next.  Called by the launcher; once more does no harm.
 */
TimestampTz
wbc_metrics_tick(TimestampTz now)
{
	TimestampTz next;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	next = metrics->snapped_at + WBC_WINDOW_STEP;
	if (now >= next || now < metrics->snapped_at)
	{
		for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
		{
			Slot	   *slot = &metrics->slots[i];
			uint64		count[WBC_WINDOW_COUNTERS];

			if (!OidIsValid(slot->dbid))
				continue;
			read_counters(slot, count);
			wbc_window_put(&slot->window, now, count);
		}
		metrics->snapped_at = now;
		next = now + WBC_WINDOW_STEP;
	}
	LWLockRelease(lock);

	return next;
}

/* ----------------------------------------------------------------
 * Reading and resetting
 * ----------------------------------------------------------------
 */

static void
fill_counts(WbcEndpointCounts *counts, const uint64 *count)
{
#define X(name, description) counts->name = *count++;
	WBC_ENDPOINT_COUNTERS(X)
#undef X
}

/*
 * Copies what there is of this database's endpoints to out, which has room for
 * WBC_METRICS_ENDPOINTS of them; returns how many there are.
 */
int
wbc_metrics_read(Oid dbid, TimestampTz now, WbcEndpointStat *out)
{
	int			n = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
	{
		Slot	   *slot = &metrics->slots[i];
		uint64		count[WBC_WINDOW_COUNTERS];
		uint64		growth[WBC_WINDOW_COUNTERS];

		if (slot->dbid != dbid)
			continue;
		out[n].name = slot->name;
#define X(name, description) out[n].name = pg_atomic_read_u64(&slot->metrics.name);
		WBC_SIDEBAR_COUNTERS(X)
#undef X
		read_counters(slot, count);
		fill_counts(&out[n].count, count);
		out[n].period = wbc_window_read(&slot->window, now, count, growth);
		fill_counts(&out[n].recent, growth);
		n++;
	}
	LWLockRelease(lock);

	return n;
}

/*
 * The same for what took how long.
 */
int
wbc_metrics_read_latency(Oid dbid, WbcLatencyStat *out)
{
	int			n = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
	{
		Slot	   *slot = &metrics->slots[i];

		if (slot->dbid != dbid)
			continue;
		out[n].name = slot->name;
		for (WbcOperation operation = 0; operation < WBC_OPERATIONS; operation++)
			wbc_histogram_copy(&slot->metrics.latency[operation],
							   &out[n].latency[operation]);
		n++;
	}
	LWLockRelease(lock);

	return n;
}

void
wbc_metrics_read_coalescer(WbcCoalescerStat *out)
{
	WbcCoalescerMetrics *coalescer = &metrics->coalescer;

	LWLockAcquire(lock, LW_SHARED);
#define X(name, description) out->name = pg_atomic_read_u64(&coalescer->name);
	WBC_COALESCER_FIELDS(X)
#undef X
	out->waiters = pg_atomic_read_u32(&coalescer->waiters);
	pg_read_barrier();
	out->max_waiters = Max(pg_atomic_read_u32(&coalescer->max_waiters),
						   out->waiters);
	LWLockRelease(lock);
}

/*
 * Sets this database's counters, and the coalescer's, to zero; the windows of
 * the database begin anew.
 */
void
wbc_metrics_reset(Oid dbid, TimestampTz now)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
		if (metrics->slots[i].dbid == dbid)
			zero_slot(&metrics->slots[i], now);
	zero_coalescer();
	LWLockRelease(lock);
}

const char *
wbc_metrics_operation_name(WbcOperation operation)
{
#define X(symbol, label, description) label,
	static const char *const names[WBC_OPERATIONS] = {WBC_EACH_OPERATION(X)};
#undef X

	return names[operation];
}
