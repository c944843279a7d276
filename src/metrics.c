/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  Counters in shared memory.
 *
 * Layer 2.  Counters are atomics that anybody adds to at any time.  Which
 * endpoint has which slot is guarded by one lock; a process remembers the
 * slot of an endpoint with the endpoint itself, so counting takes no lock.
 * Should an endpoint be dropped and its slot be taken by another one, a
 * process that has not heard of it yet may add a last read to the new owner:
 * a wrong count by one is accepted, a lock on each hit is not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "metrics.h"
#include "shmem.h"

/* Slot 0 belongs to those who came when all others were taken. */
#define SLOT_SHARED	0

typedef struct Metrics
{
	WbcCoalescerMetrics coalescer;
	WbcEndpointMetrics endpoints[WBC_METRICS_ENDPOINTS];
} Metrics;

static Metrics *metrics;
static LWLock *lock;

static void
zero_endpoint(WbcEndpointMetrics *endpoint)
{
#define X(name, description) pg_atomic_write_u64(&endpoint->name, 0);
	WBC_ENDPOINT_COUNTERS(X)
#undef X
}

static void
init_metrics(void)
{
	memset(metrics, 0, sizeof(Metrics));
	pg_atomic_init_u32(&metrics->coalescer.waiters, 0);
	pg_atomic_init_u32(&metrics->coalescer.max_waiters, 0);
#define X(name, description) pg_atomic_init_u64(&metrics->coalescer.name, 0);
	WBC_COALESCER_COUNTERS(X)
#undef X

	for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
	{
		WbcEndpointMetrics *endpoint = &metrics->endpoints[i];

#define X(name, description) pg_atomic_init_u64(&endpoint->name, 0);
		WBC_ENDPOINT_COUNTERS(X)
#undef X
	}
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

/* The caller holds the lock.  Returns -1 when there is none. */
static int
find_slot(Oid dbid, const char *name)
{
	for (int i = SLOT_SHARED + 1; i < WBC_METRICS_ENDPOINTS; i++)
		if (metrics->endpoints[i].dbid == dbid &&
			strcmp(NameStr(metrics->endpoints[i].name), name) == 0)
			return i;
	return -1;
}

/*
 * The slot of an endpoint's counters, made if need be.  Never fails: when all
 * slots are taken it is the shared one.
 */
int
wbc_metrics_endpoint_slot(Oid dbid, const char *name)
{
	int			slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find_slot(dbid, name);
	if (slot < 0)
	{
		slot = find_slot(InvalidOid, "");
		if (slot > 0)
		{
			zero_endpoint(&metrics->endpoints[slot]);
			metrics->endpoints[slot].dbid = dbid;
			strlcpy(NameStr(metrics->endpoints[slot].name), name, NAMEDATALEN);
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
		metrics->endpoints[slot].dbid = InvalidOid;
		NameStr(metrics->endpoints[slot].name)[0] = '\0';
	}
	LWLockRelease(lock);
}

WbcEndpointMetrics *
wbc_metrics_endpoint(int slot)
{
	return &metrics->endpoints[slot];
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
 * Sets this database's counters, and the coalescer's, to zero.
 */
void
wbc_metrics_reset(Oid dbid)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < WBC_METRICS_ENDPOINTS; i++)
		if (metrics->endpoints[i].dbid == dbid)
			zero_endpoint(&metrics->endpoints[i]);
	LWLockRelease(lock);

	pg_atomic_write_u32(&metrics->coalescer.max_waiters, 0);
#define X(name, description) pg_atomic_write_u64(&metrics->coalescer.name, 0);
	WBC_COALESCER_COUNTERS(X)
#undef X
}
