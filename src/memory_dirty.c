/*-------------------------------------------------------------------------
 *
 * memory_dirty.c
 *	  What of the memory tier the table tier has yet to get.
 *
 * Layer 2, a part of memory.c, where the lock protocol is.
 *
 * A slot is dirty until the transaction that wrote its entry into the table tier
 * has committed.  Dirty ones are evicted only where nothing else is left: then
 * the value is lost to the table tier, which costs a fetch later.  Nothing is
 * dirty on a standby, where there is no table tier.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "memory.h"
#include "memory_block.h"

/* The table tier's writer holds no more than this part of the area pinned. */
#define PINNED_PART_MAX		32

/* Hold the partition lock exclusively in these. */
void
wbc_memory_set_dirty(uint32 b, int s)
{
	if (RecoveryInProgress())
		return;
	if (!wbc_memory_is_dirty(b, s))
		(void) pg_atomic_fetch_add_u64(&wbc_memory->dirty, 1);
	wbc_memory_dirty[b] |= 1 << s;
}

void
wbc_memory_set_clean(uint32 b, int s)
{
	if (wbc_memory_is_dirty(b, s))
		(void) pg_atomic_fetch_sub_u64(&wbc_memory->dirty, 1);
	wbc_memory_dirty[b] &= ~(1 << s);
}

uint64
wbc_memory_count_dirty(void)
{
	return pg_atomic_read_u64(&wbc_memory->dirty);
}

/*
 * Is so much dirty that entries may soon have to go before they are written?
 * With one slot in 64 there is one in eight buckets; even where the writer comes
 * last, and there are several times as many, 9 in one bucket are as good as
 * never.  But large values fill the memory before the slots.
 */
bool
wbc_memory_dirt_is_urgent(void)
{
	uint64		dirty = pg_atomic_read_u64(&wbc_memory->dirty);

	return dirty > wbc_memory_count_slots() / 64 ||
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
		(void) pg_atomic_fetch_add_u64(&entry->refs, 1);
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
		*cursor = (*cursor + 1) & (wbc_memory_nbuckets - 1);
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
	uint32		b = wbc_memory_bucket_of(entry->hash);
	WbcKey		key;
	int			s;

	wbc_memory_key(entry, &key);
	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	s = wbc_memory_find_slot(&wbc_memory_buckets[b], &key);
	if (s >= 0 && wbc_memory_entry_in(&wbc_memory_buckets[b], s) == entry &&
		wbc_entry_hard_expires_at(entry) == hard_expires_at)
		wbc_memory_set_clean(b, s);
	LWLockRelease(wbc_memory_lock(b));
}
