/*-------------------------------------------------------------------------
 *
 * generation.c
 *	  Counters that say which fetches are too old to be believed.
 *
 * Layer 2.  2^20 counters of 64 bits, the stripes.  Everything a value
 * depends on (its key, its endpoint, its tags, and "everyone") hashes to one.
 * In a stripe the low 16 bits count the commits in progress, the high 48 bits
 * are the generation.
 *
 * There are no locks.  The invariants, with the moments in the order in which
 * a committing transaction goes through them:
 *
 *	begin	in-progress + 1		before its data can be visible to anyone
 *	...		the core makes its data visible
 *	commit	generation + 1, in-progress - 1, in one atomic add
 *
 * A reader that can see the data took its snapshot after "begin", with the
 * barrier of ProcArrayLock in between; so it finds the stripe either in
 * progress or with another generation than any stamp taken before "begin".
 * A stamp taken between "begin" and "commit" carries in-progress bits and is
 * never current.  Hence whatever was fetched before the data was visible
 * cannot be taken for current by a reader who sees the data.
 *
 * An abort after "begin" takes its 1 back and leaves the generation as it
 * was: every stamp taken before is current again.
 *
 * The stripes are saved when the server is shut down cleanly, and loaded at the
 * next start, because the table tier survives it.  After a crash both are new,
 * and so they are for anybody else's table: each life of the stripes has an
 * epoch, which is kept beside the generations.
 *
 * Two names that share a stripe cost a superfluous miss, never a wrong
 * answer.  A generation wraps after 2^48 commits: 8 years at a million
 * invalidations of one stripe a second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "generation.h"
#include "keep.h"
#include "key.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define STRIPES					(1 << 20)
#define STRIPES_RESERVED		2	/* everyone's, and the globs' */
#define STRIPES_OF_ENDPOINTS	(1 << 14)	/* the reserved ones included */
#define STRIPES_OF_PRIVATE_KEYS	(1 << 16)	/* below WBC_PENDING_STRIPES_MAX */
#define IN_PROGRESS_MASK	UINT64CONST(0xFFFF)
#define ONE_GENERATION		UINT64CONST(0x10000)

/* So that a tag, a key and an endpoint of one name have different stripes. */
#define SEED_TAG			UINT64CONST(0x7461670000000000)
#define SEED_ENDPOINT		UINT64CONST(0x656e640000000000)

typedef struct Generations
{
	uint64		epoch;			/* set at start, never changes */
	pg_atomic_uint64 stripes[STRIPES];
	pg_atomic_uint64 renewed[STRIPES_OF_ENDPOINTS]; /* see wbc_generation_renew() */
} Generations;

static Generations *generations;
static pg_atomic_uint64 *stripes;

static Size
stripes_size(void)
{
	return sizeof(Generations);
}

/* ----------------------------------------------------------------
 * From a clean shutdown to the next start
 * ----------------------------------------------------------------
 */

/*
 * Runs in the postmaster when all other processes have ended, so that no
 * invalidation can come after it.
 */
static void
save_stripes(int code, Datum arg)
{
	if (code == 0)
		wbc_keep_save("stripes", generations, sizeof(Generations));
}

/*
 * No commit is in progress at a clean shutdown.  Should a stripe say otherwise,
 * nothing that depends on it can be believed.
 */
static void
settle_stripes(void)
{
	for (int i = 0; i < STRIPES; i++)
	{
		uint64		seen = pg_atomic_read_u64(&stripes[i]);

		if ((seen & IN_PROGRESS_MASK) != 0)
			pg_atomic_write_u64(&stripes[i],
								wbc_generation_after_commit(seen));
	}
}

static void
start_new_epoch(void)
{
	if (!pg_strong_random(&generations->epoch, sizeof(uint64)))
		generations->epoch = (uint64) GetCurrentTimestamp();
	for (int i = 0; i < STRIPES; i++)
		pg_atomic_init_u64(&stripes[i], ONE_GENERATION);
	for (int i = 0; i < STRIPES_OF_ENDPOINTS; i++)
		pg_atomic_init_u64(&generations->renewed[i], 0);
}

static void
stripes_attach(void *place, LWLockPadded *locks, bool found)
{
	if (MaxBackends > IN_PROGRESS_MASK)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("wbcache serves at most %d processes",
						(int) IN_PROGRESS_MASK),
				 errhint("Lower max_connections, or remove wbcache from shared_preload_libraries.")));

	generations = place;
	stripes = generations->stripes;
	if (found)
		return;

	if (wbc_keep_load("stripes", generations, sizeof(Generations)))
		settle_stripes();
	else
		start_new_epoch();
	if (!IsUnderPostmaster)
		on_shmem_exit(save_stripes, (Datum) 0);
}

void
wbc_generation_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_generation",
		.size = stripes_size,
		.attach = stripes_attach
	};

	wbc_shmem_register(&piece);
}

/*
 * Names one life of the stripes.
 */
uint64
wbc_generation_life(void)
{
	return generations->epoch;
}

uint64
wbc_generation_epoch(Oid dbid)
{
	return hash_combine64(generations->epoch, dbid);
}

/*
 * The first stripes are reserved; those behind them are the endpoints', so many
 * that two endpoints hardly ever share one, and so few that those in use stay in
 * the processor's caches: each hit looks at one.  The last ones are those of keys
 * without an endpoint: who may invalidate just these reaches nothing else by that,
 * nor can list so many that his transaction invalidates everything.  Keys and tags
 * have the rest.
 */
static uint32
stripe_of_hash(uint64 hash)
{
	return STRIPES_OF_ENDPOINTS +
		(uint32) (hash % (STRIPES - STRIPES_OF_PRIVATE_KEYS - STRIPES_OF_ENDPOINTS));
}

uint32
wbc_generation_stripe_of_key(const WbcKey *key)
{
	return stripe_of_hash(key->hash);
}

/*
 * Says that the key's stripe will be looked at soon.
 */
void
wbc_generation_prefetch(const WbcKey *key)
{
	wbc_compat_prefetch(&stripes[stripe_of_hash(key->hash)]);
}

/*
 * The stripe of a key without an endpoint, for all loaders of a role.
 */
uint32
wbc_generation_stripe_of_private(const WbcKey *key, Oid role)
{
	WbcKey		mine;

	wbc_key_make_private(&mine, key, role, InvalidOid);
	return STRIPES - STRIPES_OF_PRIVATE_KEYS +
		(uint32) (mine.hash % STRIPES_OF_PRIVATE_KEYS);
}

uint32
wbc_generation_stripe_of_tag(Oid dbid, const char *tag, int len)
{
	return stripe_of_hash(hash_bytes_extended((const unsigned char *) tag, len,
											  SEED_TAG ^ dbid));
}

uint32
wbc_generation_stripe_of_endpoint(Oid dbid, const char *name)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) name,
										   strlen(name), SEED_ENDPOINT ^ dbid);

	return STRIPES_RESERVED +
		(uint32) (hash % (STRIPES_OF_ENDPOINTS - STRIPES_RESERVED));
}

/*
 * Adds a stripe to what a value depends on; a stripe that is there already is
 * not added again.
 */
void
wbc_generation_stamp_add(WbcStamp *stamp, uint32 stripe)
{
	for (int i = 0; i < stamp->n; i++)
		if (stamp->stripe[i] == stripe)
			return;

	if (stamp->n >= WBC_STAMP_MAX)
		elog(ERROR, "too many stripes in a stamp");
	stamp->stripe[stamp->n++] = stripe;
}

/*
 * The same for a stamp that was taken already: reads the stripe now.
 */
void
wbc_generation_stamp_add_taken(WbcStamp *stamp, uint32 stripe)
{
	int			n = stamp->n;

	wbc_generation_stamp_add(stamp, stripe);
	if (stamp->n > n)
		stamp->seen[n] = wbc_generation_read(stripe);
}

/*
 * What the value of a key without an endpoint depends on.
 */
void
wbc_generation_stamp_private(const WbcKey *key, WbcStamp *stamp)
{
	stamp->n = 0;
	wbc_generation_stamp_add(stamp, WBC_STRIPE_EVERYONE);
	wbc_generation_stamp_add(stamp,
							 wbc_generation_stripe_of_private(key, key->scope));
}

/*
 * Reads the stripes.  The full barrier keeps whatever the caller reads from
 * the source afterwards from being read before.
 */
void
wbc_generation_stamp_take(WbcStamp *stamp)
{
	for (int i = 0; i < stamp->n; i++)
		stamp->seen[i] = pg_atomic_read_u64(&stripes[stamp->stripe[i]]);
	pg_memory_barrier();
}

/*
 * Is a value that depends on these n stripes, fetched when they held what was
 * seen, still to be believed?
 */
bool
wbc_generation_is_current(int n, const uint32 *stripe, const uint64 *seen)
{
	for (int i = 0; i < n; i++)
	{
		uint64		now = pg_atomic_read_u64(&stripes[stripe[i]]);

		if (now != seen[i] || (now & IN_PROGRESS_MASK) != 0)
			return false;
	}
	return true;
}

/*
 * Can this, read from elsewhere, be a stamp at all?
 */
bool
wbc_generation_stamp_is_valid(const WbcStamp *stamp)
{
	for (int i = 0; i < stamp->n; i++)
		if (stamp->stripe[i] >= STRIPES)
			return false;
	return stamp->n > 0;
}

bool
wbc_generation_stamp_is_current(const WbcStamp *stamp)
{
	return wbc_generation_is_current(stamp->n, stamp->stripe, stamp->seen);
}

/*
 * Was a commit in progress on one of the stripes when the stamp was taken?
 */
bool
wbc_generation_stamp_in_progress(const WbcStamp *stamp)
{
	for (int i = 0; i < stamp->n; i++)
		if ((stamp->seen[i] & IN_PROGRESS_MASK) != 0)
			return true;
	return false;
}

/*
 * What a stripe holds now.
 */
uint64
wbc_generation_read(uint32 stripe)
{
	return pg_atomic_read_u64(&stripes[stripe]);
}

/*
 * The generation in what a stripe held, without the commits in progress.
 */
uint64
wbc_generation_settled(uint64 seen)
{
	return seen & ~IN_PROGRESS_MASK;
}

/*
 * A transaction that has this stripe on its list is about to commit.  Each
 * backend begins a stripe at most once a transaction, so 16 bits are enough
 * for the 65,535 processes that stripes_attach() makes sure of.
 */
void
wbc_generation_begin(uint32 stripe)
{
	(void) pg_atomic_fetch_add_u64(&stripes[stripe], 1);
}

/*
 * The transaction has committed.  Returns what the stripe held before.
 */
uint64
wbc_generation_commit(uint32 stripe)
{
	return pg_atomic_fetch_add_u64(&stripes[stripe], ONE_GENERATION - 1);
}

/*
 * The transaction was aborted after wbc_generation_begin().
 */
void
wbc_generation_abort(uint32 stripe)
{
	(void) pg_atomic_fetch_sub_u64(&stripes[stripe], 1);
}

/*
 * From what wbc_generation_commit() returned, what a stamp must have seen to
 * be current once no commit is in progress: the generation of that commit.
 */
uint64
wbc_generation_after_commit(uint64 before)
{
	return (before & ~IN_PROGRESS_MASK) + ONE_GENERATION;
}

/*
 * An endpoint of this stripe is made or dropped by a transaction that is about to
 * commit, and has begun the stripe: what has seen less of it is another
 * endpoint's, and won't be served even as stale.  If the transaction is aborted
 * after all, that costs a miss.
 */
void
wbc_generation_renew(uint32 stripe)
{
	Assert(stripe < STRIPES_OF_ENDPOINTS);
	pg_atomic_write_u64(&generations->renewed[stripe],
						wbc_generation_after_commit(wbc_generation_read(stripe)));
}

/*
 * Is a value that has seen this of its endpoint's stripe, and may be invalid, of
 * the endpoint that has the stripe now?
 */
bool
wbc_generation_is_since_renewal(uint32 stripe, uint64 seen)
{
	return seen >= pg_atomic_read_u64(&generations->renewed[stripe]);
}

/*
 * Was no invalidation committed between the two moments?
 */
bool
wbc_generation_same(uint64 a, uint64 b)
{
	return (a & ~IN_PROGRESS_MASK) == (b & ~IN_PROGRESS_MASK);
}
