/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  The memory tier: a fixed block of shared memory with the hottest
 *	  entries.
 *
 * Layer 2.  The block is laid out as
 *
 *		Memory (control) | buckets | dirty bits | DSA area, created in place
 *
 * and is all there is: the DSA area is limited to its place, so that it never
 * makes a segment, and nothing of it is ever mapped.  A bucket is a set of 8
 * slots in one cache line; an entry can only be in the bucket its hash points
 * to.  A hit touches that line, the entry, and the stripes.
 *
 * Lock protocol.  Each bucket belongs to one of 128 partition locks: shared to
 * find, exclusive to change a slot or a dirty bit.  It is held for a look at 8
 * slots and never while memory is allocated, copied or freed.  No other lock is
 * taken under it, the DSA's own included.
 *
 * An entry is pinned under the shared lock and then read without any lock; the
 * few fields of it that change are atomics.  Whoever drops the last pin frees
 * it.  The slot holds one pin.  Nothing between a pin and its unpin may throw,
 * unless the caller sees to the unpin.
 *
 * A slot is dirty until the transaction that wrote its entry into the table tier
 * has committed.  Dirty ones are evicted only where nothing else is left: then
 * the value is lost to the table tier, which costs a fetch later.  Nothing is
 * dirty on a standby, where there is no table tier.
 *
 * Making room is the business of memory_room.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "compat.h"
#include "guc.h"
#include "key.h"
#include "memory.h"
#include "memory_block.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The table tier's writer holds no more than this part of the area pinned. */
#define PINNED_PART_MAX		32

Memory	   *wbc_memory;
Bucket	   *wbc_memory_buckets;
uint8	   *wbc_memory_dirty;
LWLockPadded *wbc_memory_locks;
dsa_area   *wbc_memory_area = NULL;

static void *dsa_place;

/* ----------------------------------------------------------------
 * The block
 * ----------------------------------------------------------------
 */

static uint32
count_buckets(void)
{
	Size		slots = (Size) wbc_guc_memory_size * 1024 / EXPECTED_VALUE_SIZE;

	return pg_prevpower2_32(slots / SLOTS_PER_BUCKET);
}

static Size
block_size(void)
{
	return (Size) wbc_guc_memory_size * 1024;
}

static void
init_dsa(void)
{
	dsa_area   *created;

	wbc_memory->dsa_tranche = LWLockNewTrancheId();
	created = dsa_create_in_place(dsa_place, wbc_memory->dsa_size,
								  wbc_memory->dsa_tranche, NULL);
	dsa_pin(created);
	dsa_set_size_limit(created, wbc_memory->dsa_size);
	dsa_detach(created);
}

static void
block_attach(void *place, LWLockPadded *piece_locks, bool found)
{
	char	   *at = place;
	uint32		nbuckets = count_buckets();

	wbc_memory = place;
	wbc_memory_locks = piece_locks;
	at += CACHELINEALIGN(sizeof(Memory));
	wbc_memory_buckets = (Bucket *) at;
	at += nbuckets * sizeof(Bucket);
	wbc_memory_dirty = (uint8 *) at;
	at += CACHELINEALIGN(nbuckets);
	dsa_place = at;

	if (!found)
	{
		memset(place, 0, at - (char *) place);
		wbc_memory->nbuckets = nbuckets;
		wbc_memory->size = block_size();
		wbc_memory->dsa_size = wbc_memory->size - (at - (char *) place);
		pg_atomic_init_u32(&wbc_memory->clock_hand, 0);
		pg_atomic_init_u64(&wbc_memory->window_hand, 0);
		pg_atomic_init_u64(&wbc_memory->used, 0);
		pg_atomic_init_u64(&wbc_memory->entries, 0);
		pg_atomic_init_u64(&wbc_memory->stores, 0);
		pg_atomic_init_u64(&wbc_memory->evictions, 0);
		pg_atomic_init_u64(&wbc_memory->refused, 0);
		pg_atomic_init_u64(&wbc_memory->dirty, 0);
		init_dsa();
	}
	LWLockRegisterTranche(wbc_memory->dsa_tranche, "wbcache_dsa");
}

void
wbc_memory_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_memory",
		.nlocks = PARTITIONS,
		.size = block_size,
		.attach = block_attach
	};

	wbc_shmem_register(&piece);
}

static void
detach_at_exit(int code, Datum arg)
{
	if (wbc_memory_area != NULL)
	{
		dsa_detach(wbc_memory_area);
		dsa_release_in_place(dsa_place);
		wbc_memory_area = NULL;
	}
}

/*
 * Makes the area usable in this process.  Must be called, where throwing is
 * allowed, before any other function below that takes or gives a dsa_pointer;
 * cheap when it was called before.
 */
void
wbc_memory_attach(void)
{
	MemoryContext caller;

	if (likely(wbc_memory_area != NULL))
		return;

	caller = MemoryContextSwitchTo(TopMemoryContext);
	wbc_memory_area = dsa_attach_in_place(dsa_place, NULL);
	dsa_pin_mapping(wbc_memory_area);
	on_shmem_exit(detach_at_exit, 0);
	MemoryContextSwitchTo(caller);
}

/*
 * The largest value that may be cached, in bytes.
 */
Size
wbc_memory_value_limit(void)
{
	return Min((Size) wbc_guc_max_value_size * 1024, wbc_memory->size / 4);
}

/* ----------------------------------------------------------------
 * Slots and pins
 * ----------------------------------------------------------------
 */

static inline uint32
bucket_of(uint64 hash)
{
	return hash & (wbc_memory->nbuckets - 1);
}

WbcEntry *
wbc_memory_entry(dsa_pointer pointer)
{
	return dsa_get_address(wbc_memory_area, pointer);
}

/*
 * For someone who holds a pin already.
 */
void
wbc_memory_pin(dsa_pointer pointer)
{
	(void) pg_atomic_fetch_add_u32(&wbc_memory_entry(pointer)->refs, 1);
}

/*
 * Frees the entry if this was the last pin.  Hold no partition lock.
 */
void
wbc_memory_unpin(dsa_pointer pointer)
{
	WbcEntry   *entry = wbc_memory_entry(pointer);
	uint32		size = entry->size;

	if (pg_atomic_sub_fetch_u32(&entry->refs, 1) == 0)
	{
		dsa_free(wbc_memory_area, pointer);
		(void) pg_atomic_fetch_sub_u64(&wbc_memory->used, size);
	}
}

static inline uint32
tag_of(uint64 hash)
{
	return (uint32) (hash >> 32);
}

static bool
is_entry_of(const WbcEntry *entry, const WbcKey *key)
{
	return entry->hash == key->hash && entry->dbid == key->dbid &&
		entry->scope == key->scope && entry->loader == key->loader &&
		entry->key_len == key->len &&
		memcmp(wbc_entry_key(entry), key->data, key->len) == 0;
}

/*
 * The key of an entry.
 */
void
wbc_memory_key(const WbcEntry *entry, WbcKey *key)
{
	key->hash = entry->hash;
	key->dbid = entry->dbid;
	key->scope = entry->scope;
	key->loader = entry->loader;
	key->len = entry->key_len;
	memcpy(key->data, wbc_entry_key(entry), entry->key_len);
}

/*
 * The slot of a key in its bucket, or -1.  Hold the partition lock.
 */
static int
find_slot(const Bucket *bucket, const WbcKey *key)
{
	uint32		tag = tag_of(key->hash);

	for (int s = 0; s < SLOTS_PER_BUCKET; s++)
		if (bucket->tag[s] == tag && bucket->unit[s] != 0 &&
			is_entry_of(wbc_memory_entry_in(bucket, s), key))
			return s;
	return -1;
}

/* Hold the partition lock exclusively in these. */
static void
set_dirty(uint32 b, int s)
{
	if (!wbc_memory_is_dirty(b, s))
		(void) pg_atomic_fetch_add_u64(&wbc_memory->dirty, 1);
	wbc_memory_dirty[b] |= 1 << s;
}

static void
set_clean(uint32 b, int s)
{
	if (wbc_memory_is_dirty(b, s))
		(void) pg_atomic_fetch_sub_u64(&wbc_memory->dirty, 1);
	wbc_memory_dirty[b] &= ~(1 << s);
}

/*
 * Empties a slot.  Unpin what is returned after releasing the lock.
 */
dsa_pointer
wbc_memory_clear_slot(uint32 b, int s)
{
	dsa_pointer was = POINTER_OF_UNIT(wbc_memory_buckets[b].unit[s]);

	wbc_memory_buckets[b].unit[s] = 0;
	set_clean(b, s);
	if (DsaPointerIsValid(was))
		(void) pg_atomic_fetch_sub_u64(&wbc_memory->entries, 1);
	return was;
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

/*
 * Says that wbc_memory_find() will be called soon, so that the memory it looks
 * at first can be on its way.
 */
void
wbc_memory_prefetch(const WbcKey *key)
{
	uint32		b = bucket_of(key->hash);

	wbc_compat_prefetch(&wbc_memory_buckets[b]);
	wbc_compat_prefetch(wbc_memory_lock(b));
}

/*
 * Looks a key up, whatever state its entry is in.  When found, the entry is
 * pinned and the caller must unpin it.
 */
bool
wbc_memory_find(const WbcKey *key, WbcFound *found)
{
	uint32		b = bucket_of(key->hash);
	LWLock	   *lock = wbc_memory_lock(b);
	int			s;

	LWLockAcquire(lock, LW_SHARED);
	s = find_slot(&wbc_memory_buckets[b], key);
	if (s >= 0)
	{
		found->pointer = POINTER_OF_UNIT(wbc_memory_buckets[b].unit[s]);
		found->entry = wbc_memory_entry(found->pointer);
		(void) pg_atomic_fetch_add_u32(&found->entry->refs, 1);
	}
	LWLockRelease(lock);

	if (s >= 0 && pg_atomic_read_u32(&found->entry->used) == 0)
		pg_atomic_write_u32(&found->entry->used, 1);
	return s >= 0;
}

/*
 * Of all who find that a refresh is due, one gets true here; for the others
 * it is then not due before "until".  So a stale read costs no more than a
 * fresh one while its refresh is on the way.  The entry is pinned.
 */
bool
wbc_memory_claim_refresh(WbcEntry *entry, TimestampTz now, TimestampTz until)
{
	uint64		due = pg_atomic_read_u64(&entry->refresh_at);

	return (TimestampTz) due <= now &&
		pg_atomic_compare_exchange_u64(&entry->refresh_at, &due, until);
}

/* ----------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------
 */

static void
fill_entry(WbcEntry *entry, Size size, const WbcEntryParts *parts)
{
	const WbcKey *key = parts->key;
	const WbcStamp *stamp = parts->stamp;

	pg_atomic_init_u32(&entry->refs, 1);
	pg_atomic_init_u32(&entry->used, 1);
	pg_atomic_init_u64(&entry->refresh_at, 0);
	pg_atomic_init_u64(&entry->hard_expires_at, parts->hard_expires_at);
	entry->soft_expires_at = parts->soft_expires_at;
	entry->size = size;
	entry->hash = key->hash;
	entry->dbid = key->dbid;
	entry->scope = key->scope;
	entry->loader = key->loader;
	entry->cached_at = parts->cached_at;
	entry->fetch_started = parts->fetch_started;
	entry->fetch_us = parts->fetch_us;
	entry->source = parts->source;
	entry->value_len = parts->value_len;
	entry->key_len = key->len;
	entry->kind = parts->kind;
	entry->nstripes = stamp->n;
	entry->etag_len = parts->etag_len;
	entry->modified_len = parts->modified_len;
	memcpy(entry->seen, stamp->seen, stamp->n * sizeof(uint64));
	memcpy((char *) wbc_entry_stripes(entry), stamp->stripe,
		   stamp->n * sizeof(uint32));
	memcpy((char *) wbc_entry_key(entry), key->data, key->len);
	if (parts->etag_len > 0)
		memcpy((char *) wbc_entry_etag(entry), parts->etag, parts->etag_len);
	if (parts->modified_len > 0)
		memcpy((char *) wbc_entry_last_modified(entry), parts->last_modified,
			   parts->modified_len);
	memcpy((char *) wbc_entry_value(entry), parts->value, parts->value_len);
}

/*
 * Makes an entry, not yet to be found by anyone.  Returns it with one pin, the
 * caller's, or InvalidDsaPointer when there is no room.  Never throws.
 */
dsa_pointer
wbc_memory_build(const WbcEntryParts *parts)
{
	Size		size = offsetof(WbcEntry, seen) +
		parts->stamp->n * (sizeof(uint64) + sizeof(uint32)) +
		parts->key->len + parts->etag_len + parts->modified_len +
		parts->value_len;
	dsa_pointer pointer = wbc_memory_allocate(size);

	if (DsaPointerIsValid(pointer))
	{
		fill_entry(wbc_memory_entry(pointer), size, parts);
		(void) pg_atomic_fetch_add_u64(&wbc_memory->used, size);
	}
	return pointer;
}

/*
 * The slot to put a new key in: an empty one, else by second chance, what is
 * clean first.  Hold the partition lock exclusively.
 */
static int
choose_slot(uint32 b)
{
	const Bucket *bucket = &wbc_memory_buckets[b];
	uint32	   *hand = &wbc_memory->hands[b % PARTITIONS];
	bool		spare = wbc_memory_can_spare_dirty();

	for (int s = 0; s < SLOTS_PER_BUCKET; s++)
		if (bucket->unit[s] == 0)
			return s;

	for (int look = 0;; look++)
	{
		int			s = (*hand)++ % SLOTS_PER_BUCKET;

		if (spare && wbc_memory_is_dirty(b, s) && look < 2 * SLOTS_PER_BUCKET)
			continue;
		if (pg_atomic_exchange_u32(&wbc_memory_entry_in(bucket, s)->used, 0) == 0)
			return s;
	}
}

static void
put_in_slot(uint32 b, int s, dsa_pointer pointer, bool dirty)
{
	wbc_memory_buckets[b].tag[s] = tag_of(wbc_memory_entry(pointer)->hash);
	wbc_memory_buckets[b].unit[s] = UNIT_OF_POINTER(pointer);
	if (dirty && !RecoveryInProgress())
		set_dirty(b, s);
	(void) pg_atomic_fetch_add_u64(&wbc_memory->entries, 1);
	(void) pg_atomic_fetch_add_u64(&wbc_memory->stores, 1);
}

/*
 * Lets everyone find an entry that wbc_memory_build() made, in place of the
 * one its key had.  Returns false, and stores nothing, when it was invalidated
 * meanwhile or when the one there comes from a later fetch.  Looking at the
 * stripes under the lock makes sure that a delete() that comes later also
 * finds the entry to delete.  The caller keeps its pin.  "dirty" says that the
 * table tier should have it too.
 */
bool
wbc_memory_store(dsa_pointer pointer, bool dirty)
{
	WbcEntry   *entry = wbc_memory_entry(pointer);
	uint32		b = bucket_of(entry->hash);
	dsa_pointer old = InvalidDsaPointer;
	bool		stored;
	bool		evicted = false;
	WbcKey		key;
	int			s;

	wbc_memory_key(entry, &key);
	wbc_memory_pin(pointer);

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = find_slot(&wbc_memory_buckets[b], &key);
	stored = wbc_entry_is_current(entry) &&
		(s < 0 ||
		 wbc_memory_entry_in(&wbc_memory_buckets[b], s)->fetch_started <= entry->fetch_started);
	if (stored)
	{
		if (s < 0)
		{
			s = choose_slot(b);
			evicted = wbc_memory_buckets[b].unit[s] != 0;
		}
		old = wbc_memory_clear_slot(b, s);
		put_in_slot(b, s, pointer, dirty);
	}
	LWLockRelease(wbc_memory_lock(b));

	if (DsaPointerIsValid(old))
		wbc_memory_unpin(old);
	if (!stored)
		wbc_memory_unpin(pointer);
	if (evicted)
		(void) pg_atomic_fetch_add_u64(&wbc_memory->evictions, 1);
	return stored;
}

/*
 * A refresh has failed.  If the key has a value that may be served now, its
 * hard expiry moves by so many microseconds, but not further than max_stale
 * after it was cached, and the next refresh is not due before refresh_at.
 * Returns false when there is no such value.
 */
bool
wbc_memory_extend(const WbcKey *key, int64 by, int64 max_stale,
				  bool even_invalidated, TimestampTz now,
				  TimestampTz refresh_at)
{
	uint32		b = bucket_of(key->hash);
	bool		usable = false;
	int			s;

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = find_slot(&wbc_memory_buckets[b], key);
	if (s >= 0)
	{
		WbcEntry   *entry = wbc_memory_entry_in(&wbc_memory_buckets[b], s);
		TimestampTz hard = wbc_entry_hard_expires_at(entry);
		TimestampTz longer = Min(hard + by, entry->cached_at + max_stale);

		usable = entry->kind == WBC_ENTRY_VALUE && hard > now &&
			(even_invalidated || wbc_entry_is_current(entry));
		if (usable)
		{
			pg_atomic_write_u64(&entry->hard_expires_at, Max(hard, longer));
			pg_atomic_write_u64(&entry->refresh_at, refresh_at);
			if (!RecoveryInProgress())
				set_dirty(b, s);
		}
	}
	LWLockRelease(wbc_memory_lock(b));

	return usable;
}

/*
 * Takes a key's entry out, if there is one.
 */
void
wbc_memory_remove(const WbcKey *key)
{
	uint32		b = bucket_of(key->hash);
	dsa_pointer old = InvalidDsaPointer;
	int			s;

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = find_slot(&wbc_memory_buckets[b], key);
	if (s >= 0)
		old = wbc_memory_clear_slot(b, s);
	LWLockRelease(wbc_memory_lock(b));

	if (DsaPointerIsValid(old))
		wbc_memory_unpin(old);
}

/* ----------------------------------------------------------------
 * What the table tier has yet to get
 * ----------------------------------------------------------------
 */

uint64
wbc_memory_count_dirty(void)
{
	return pg_atomic_read_u64(&wbc_memory->dirty);
}

/*
 * Is so much dirty that entries may soon have to go before they are written?
 * With a sixteenth of the slots there is one in two buckets, and 9 in one bucket
 * are as good as never; but large values fill the memory before the slots.
 */
bool
wbc_memory_dirt_is_urgent(void)
{
	uint64		dirty = pg_atomic_read_u64(&wbc_memory->dirty);

	return dirty > wbc_memory_count_slots() / 16 ||
		(dirty > pg_atomic_read_u64(&wbc_memory->entries) / 8 &&
		 pg_atomic_read_u64(&wbc_memory->used) > wbc_memory->dsa_size / 2);
}

/*
 * Pins the dirty entries of a database in one bucket for the caller.  Returns
 * how many.
 */
static int
collect_bucket(uint32 b, Oid dbid, WbcFound *out)
{
	int			n = 0;

	LWLockAcquire(wbc_memory_lock(b), LW_SHARED);
	for (int s = 0; s < SLOTS_PER_BUCKET; s++)
	{
		WbcEntry   *entry;

		if (!wbc_memory_is_dirty(b, s))
			continue;
		entry = wbc_memory_entry_in(&wbc_memory_buckets[b], s);
		if (entry->dbid != dbid)
			continue;
		(void) pg_atomic_fetch_add_u32(&entry->refs, 1);
		out[n].entry = entry;
		out[n].pointer = POINTER_OF_UNIT(wbc_memory_buckets[b].unit[s]);
		n++;
	}
	LWLockRelease(wbc_memory_lock(b));

	return n;
}

/*
 * Collects dirty entries of a database, up to max, starting at the bucket
 * *cursor, which moves on; all was seen when it is back at 0.  They stay dirty
 * until wbc_memory_mark_clean(); the caller unpins them.  What is pinned can't
 * be evicted, so that it must be a small part of all.
 */
int
wbc_memory_collect_dirty(Oid dbid, uint32 *cursor, WbcFound *out, int max)
{
	Size		most = wbc_memory->dsa_size / PINNED_PART_MAX;
	Size		bytes = 0;
	int			n = 0;

	while (n + SLOTS_PER_BUCKET <= max && bytes < most)
	{
		int			before = n;

		/* a bit that is missed for want of the lock is seen next time */
		if (wbc_memory_dirty[*cursor] != 0)
			n += collect_bucket(*cursor, dbid, out + n);
		for (int i = before; i < n; i++)
			bytes += out[i].entry->size;
		*cursor = (*cursor + 1) & (wbc_memory->nbuckets - 1);
		if (*cursor == 0)
			break;
	}
	return n;
}

/*
 * The table tier has this entry, with this hard expiry.  If it is still there,
 * and was not extended meanwhile, it is clean.
 */
void
wbc_memory_mark_clean(const WbcEntry *entry, TimestampTz hard_expires_at)
{
	uint32		b = bucket_of(entry->hash);
	WbcKey		key;
	int			s;

	wbc_memory_key(entry, &key);
	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = find_slot(&wbc_memory_buckets[b], &key);
	if (s >= 0 && wbc_memory_entry_in(&wbc_memory_buckets[b], s) == entry &&
		wbc_entry_hard_expires_at(entry) == hard_expires_at)
		set_clean(b, s);
	LWLockRelease(wbc_memory_lock(b));
}

void
wbc_memory_info(WbcMemoryInfo *info)
{
	info->size = wbc_memory->size;
	info->slots = wbc_memory_count_slots();
	info->used = pg_atomic_read_u64(&wbc_memory->used);
	info->entries = pg_atomic_read_u64(&wbc_memory->entries);
	info->stores = pg_atomic_read_u64(&wbc_memory->stores);
	info->evictions = pg_atomic_read_u64(&wbc_memory->evictions);
	info->refused = pg_atomic_read_u64(&wbc_memory->refused);
}
