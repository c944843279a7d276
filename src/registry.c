/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Keys that belong to a game although their endpoint doesn't say so.
 *
 * Layer 2.  A list of keys for each game, looked up when the game is
 * invalidated, would miss a key that was registered and read between that look
 * and the commit.  So it is the other way round: a registration makes the key's
 * values carry the game's tag.  Whoever takes a stamp asks here which tags
 * that are.
 *
 * A registration is there at once, whatever becomes of the transaction that
 * made it, and so is the invalidation of what was fetched without the tag:
 *
 *		registering		puts it on the list, then the key's stripe moves
 *		taking a stamp	reads the key's stripe, then looks at the list
 *
 * with full barriers in between.  A stamp without the tag was taken before the
 * key's stripe moved, and is not current.
 *
 * It is not given up when the game is invalidated: the key's next value
 * belongs to the game as well.  When its time is over the loaders take it off.
 * It survives a clean restart, as do the values.
 *
 * Lock protocol.  One lock guards all of it; "n" can be read without, to find
 * that there is nothing.  No other lock is taken under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "keep.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "registry.h"
#include "shmem.h"
#include "storage/ipc.h"

#define CHAINS	WBC_REGISTRATIONS_MAX
#define NONE	(-1)

typedef struct Registration
{
	uint64		key;			/* its hash, in which the database is */
	TimestampTz until;
	uint32		stripe;			/* of the tag */
	int32		next;			/* in its chain or the free list */
} Registration;

typedef struct Registry
{
	uint64		life;			/* of the stripes it belongs to; set at start */
	pg_atomic_uint32 n;			/* changes under the lock */
	int32		free;
	int32		chain[CHAINS];
	Registration registration[WBC_REGISTRATIONS_MAX];
} Registry;

static Registry *registry;
static LWLock *lock;

static Size
registry_size(void)
{
	return sizeof(Registry);
}

static void
save_registry(int code, Datum arg)
{
	if (code == 0)
		wbc_keep_save("registry", registry, sizeof(Registry));
}

static void
start_registry(void)
{
	registry->life = wbc_generation_life();
	pg_atomic_init_u32(&registry->n, 0);
	for (int i = 0; i < CHAINS; i++)
		registry->chain[i] = NONE;
	registry->free = NONE;
	for (int i = WBC_REGISTRATIONS_MAX - 1; i >= 0; i--)
	{
		registry->registration[i].next = registry->free;
		registry->free = i;
	}
}

static void
registry_attach(void *place, LWLockPadded *locks, bool found)
{
	registry = place;
	lock = &locks[0].lock;
	if (found)
		return;

	if (!wbc_keep_load("registry", registry, sizeof(Registry)) ||
		registry->life != wbc_generation_life())
		start_registry();
	if (!IsUnderPostmaster)
		on_shmem_exit(save_registry, (Datum) 0);
}

/*
 * To be called after wbc_generation_register().
 */
void
wbc_registry_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_registry",
		.nlocks = 1,
		.size = registry_size,
		.attach = registry_attach
	};

	wbc_shmem_register(&piece);
}

static int32 *
chain_of(uint64 key)
{
	return &registry->chain[key % CHAINS];
}

/* Hold the lock.  Returns how many games the key has. */
static int
find(uint64 key, uint32 stripe, Registration **found)
{
	int			n = 0;

	*found = NULL;
	for (int i = *chain_of(key); i != NONE; i = registry->registration[i].next)
	{
		Registration *each = &registry->registration[i];

		if (each->key != key)
			continue;
		n++;
		if (each->stripe == stripe)
			*found = each;
	}
	return n;
}

/* Hold the lock. */
static void
put(const WbcKey *key, uint32 stripe, TimestampTz until)
{
	int32		i = registry->free;
	Registration *new = &registry->registration[i];
	int32	   *chain = chain_of(key->hash);

	registry->free = new->next;
	new->key = key->hash;
	new->stripe = stripe;
	new->until = until;
	new->next = *chain;
	*chain = i;
	(void) pg_atomic_fetch_add_u32(&registry->n, 1);
}

/* Takes off what has expired.  Hold the lock. */
static void
sweep(TimestampTz now)
{
	for (int c = 0; c < CHAINS; c++)
	{
		int32	   *link = &registry->chain[c];

		while (*link != NONE)
		{
			int32		i = *link;
			Registration *each = &registry->registration[i];

			if (each->until > now)
			{
				link = &each->next;
				continue;
			}
			*link = each->next;
			each->next = registry->free;
			registry->free = i;
			(void) pg_atomic_fetch_sub_u32(&registry->n, 1);
		}
	}
}

/*
 * From now on the key's values carry the tag with this stripe.  Those it has
 * are invalid, unless they do already.
 */
WbcRegistered
wbc_registry_add(const WbcKey *key, uint32 stripe, TimestampTz until,
				 TimestampTz now)
{
	uint32		mine = wbc_generation_stripe_of_key(key);
	WbcRegistered answer = WBC_REGISTERED;
	Registration *found;
	int			games;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (registry->free == NONE)
		sweep(now);				/* no loader does, on a standby */
	games = find(key->hash, stripe, &found);
	if (found != NULL)
	{
		found->until = Max(found->until, until);
		answer = WBC_REGISTERED_BEFORE;
	}
	else if (games >= WBC_GAMES_MAX)
		answer = WBC_REGISTERED_TOO_OFTEN;
	else if (registry->free == NONE)
		answer = WBC_REGISTRY_FULL;
	else
	{
		put(key, stripe, until);
		wbc_generation_begin(mine);
		(void) wbc_generation_commit(mine);
	}
	LWLockRelease(lock);

	return answer;
}

/*
 * Adds what the key is registered for to a stamp that was taken.
 */
void
wbc_registry_stamp(const WbcKey *key, WbcStamp *stamp)
{
	if (likely(pg_atomic_read_u32(&registry->n) == 0))
		return;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = *chain_of(key->hash); i != NONE;
		 i = registry->registration[i].next)
	{
		const Registration *each = &registry->registration[i];

		if (each->key == key->hash && stamp->n < WBC_STAMP_MAX)
			wbc_generation_stamp_add_taken(stamp, each->stripe);
	}
	LWLockRelease(lock);
}

/*
 * Takes off what has expired.
 */
void
wbc_registry_sweep(TimestampTz now)
{
	if (pg_atomic_read_u32(&registry->n) == 0)
		return;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	sweep(now);
	LWLockRelease(lock);
}

/*
 * How many there are, those that have expired since the last sweep included.
 */
int
wbc_registry_count(void)
{
	return (int) pg_atomic_read_u32(&registry->n);
}
