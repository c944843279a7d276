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
 * taken under it, the DSA's own included, but for that of the globs: an entry's
 * stamp may have to catch up with them.
 *
 * An entry is pinned under the shared lock and then read without any lock; the
 * few fields of it that change are atomics, or of eight bytes, as what its stamp
 * has seen (stamp.c).  Whoever drops the last pin frees it.  The slot holds one
 * pin.  Nothing between a pin and its unpin may throw, unless the caller sees to
 * the unpin.
 *
 * Making room is the business of memory_room.c, what is dirty that of
 * memory_dirty.c, which entries are used most that of memory_use.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

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

Memory	   *wbc_memory;
Bucket	   *wbc_memory_buckets;
uint8	   *wbc_memory_dirty;
LWLockPadded *wbc_memory_locks;
dsa_area   *wbc_memory_area = NULL;
uint32		wbc_memory_nbuckets;

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

	wbc_memory = place;
	wbc_memory_nbuckets = count_buckets();
	wbc_memory_locks = piece_locks;
	at += CACHELINEALIGN(sizeof(Memory));
	wbc_memory_buckets = (Bucket *) at;
	at += wbc_memory_nbuckets * sizeof(Bucket);
	wbc_memory_dirty = (uint8 *) at;
	at += CACHELINEALIGN(wbc_memory_nbuckets);
	dsa_place = at;

	if (!found)
	{
		memset(place, 0, at - (char *) place);
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

WbcEntry *
wbc_memory_entry(dsa_pointer pointer)
{
	return dsa_get_address(wbc_memory_area, pointer);
}

/*
 * For someone who holds a pin already.
 */
static void
pin(dsa_pointer pointer)
{
	(void) pg_atomic_fetch_add_u64(&wbc_memory_entry(pointer)->refs, 1);
}

/*
 * Frees the entry if this was the last pin.  Hold no partition lock.
 */
void
wbc_memory_unpin(dsa_pointer pointer)
{
	WbcEntry   *entry = wbc_memory_entry(pointer);
	uint32		size = entry->size;

	if (PINS_OF(pg_atomic_sub_fetch_u64(&entry->refs, 1)) == 0)
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
int
wbc_memory_find_slot(const Bucket *bucket, const WbcKey *key)
{
	uint32		tag = tag_of(key->hash);

	for (int s = 0; s < SLOTS_PER_BUCKET; s++)
		if (bucket->tag[s] == tag && bucket->unit[s] != 0 &&
			is_entry_of(wbc_memory_entry_in(bucket, s), key))
			return s;
	return -1;
}

/*
 * Empties a slot.  Unpin what is returned after releasing the lock.
 */
dsa_pointer
wbc_memory_clear_slot(uint32 b, int s)
{
	dsa_pointer was = POINTER_OF_UNIT(wbc_memory_buckets[b].unit[s]);

	wbc_memory_buckets[b].unit[s] = 0;
	wbc_memory_set_clean(b, s);
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
	uint32		b = wbc_memory_bucket_of(key->hash);

	wbc_compat_prefetch(&wbc_memory_buckets[b]);
	wbc_compat_prefetch(wbc_memory_lock(b));
}

static inline bool
find_and_add(const WbcKey *key, WbcFound *found, uint64 refs)
{
	uint32		b = wbc_memory_bucket_of(key->hash);
	LWLock	   *lock = wbc_memory_lock(b);
	int			s;

	LWLockAcquire(lock, LW_SHARED);
	s = wbc_memory_find_slot(&wbc_memory_buckets[b], key);
	if (s >= 0)
	{
		found->pointer = POINTER_OF_UNIT(wbc_memory_buckets[b].unit[s]);
		found->entry = wbc_memory_entry(found->pointer);
		(void) pg_atomic_fetch_add_u64(&found->entry->refs, refs);
	}
	LWLockRelease(lock);
	return s >= 0;
}

/*
 * Looks a key up, whatever state its entry is in.  When found, the entry is
 * pinned and the caller must unpin it.
 */
bool
wbc_memory_find(const WbcKey *key, WbcFound *found)
{
	bool		there = find_and_add(key, found, ONE_USE + 1);

	if (there && pg_atomic_read_u32(&found->entry->used) == 0)
		pg_atomic_write_u32(&found->entry->used, 1);
	return there;
}

/*
 * The same, for a look that is no use of the entry.
 */
bool
wbc_memory_peek(const WbcKey *key, WbcFound *found)
{
	return find_and_add(key, found, 1);
}

/*
 * Who has asked for the value that this entry was made for has used it.  The entry
 * is pinned.
 */
void
wbc_memory_count_use(dsa_pointer pointer)
{
	(void) pg_atomic_fetch_add_u64(&wbc_memory_entry(pointer)->refs, ONE_USE);
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

	pg_atomic_init_u64(&entry->refs, 1);
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

/*
 * The key's new entry has been used as often as the one it replaces.
 */
static void
inherit_uses(WbcEntry *entry, const WbcEntry *from)
{
	uint64		refs = pg_atomic_read_u64(&unconstify(WbcEntry *, from)->refs);

	(void) pg_atomic_fetch_add_u64(&entry->refs, USES_OF(refs) * ONE_USE);
}

static void
put_in_slot(uint32 b, int s, dsa_pointer pointer, bool dirty)
{
	wbc_memory_buckets[b].tag[s] = tag_of(wbc_memory_entry(pointer)->hash);
	wbc_memory_buckets[b].unit[s] = UNIT_OF_POINTER(pointer);
	if (dirty)
		wbc_memory_set_dirty(b, s);
	(void) pg_atomic_fetch_add_u64(&wbc_memory->entries, 1);
	(void) pg_atomic_fetch_add_u64(&wbc_memory->stores, 1);
}

/*
 * May an entry that is current take the place of the one that its key has?  One
 * that is not current may come from a clock that was set back since.
 */
static bool
may_replace(const WbcEntry *old, const WbcEntry *entry)
{
	return old->fetch_started <= entry->fetch_started ||
		!wbc_entry_is_current(old);
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
	uint32		b = wbc_memory_bucket_of(entry->hash);
	dsa_pointer old = InvalidDsaPointer;
	bool		stored;
	bool		evicted = false;
	WbcKey		key;
	int			s;

	wbc_memory_key(entry, &key);
	pin(pointer);

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = wbc_memory_find_slot(&wbc_memory_buckets[b], &key);
	stored = wbc_entry_is_current(entry) &&
		(s < 0 || may_replace(wbc_memory_entry_in(&wbc_memory_buckets[b], s), entry));
	if (stored)
	{
		if (s < 0)
		{
			s = choose_slot(b);
			evicted = wbc_memory_buckets[b].unit[s] != 0;
		}
		else
			inherit_uses(entry, wbc_memory_entry_in(&wbc_memory_buckets[b], s));
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
	uint32		b = wbc_memory_bucket_of(key->hash);
	bool		usable = false;
	int			s;

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = wbc_memory_find_slot(&wbc_memory_buckets[b], key);
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
			wbc_memory_set_dirty(b, s);
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
	uint32		b = wbc_memory_bucket_of(key->hash);
	dsa_pointer old = InvalidDsaPointer;
	int			s;

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = wbc_memory_find_slot(&wbc_memory_buckets[b], key);
	if (s >= 0)
		old = wbc_memory_clear_slot(b, s);
	LWLockRelease(wbc_memory_lock(b));

	if (DsaPointerIsValid(old))
		wbc_memory_unpin(old);
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
