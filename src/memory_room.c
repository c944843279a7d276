/*-------------------------------------------------------------------------
 *
 * memory_room.c
 *	  Making room in the memory tier.
 *
 * Layer 2, a part of memory.c, where the lock protocol is.
 *
 * Eviction.  A full set makes room by second chance inside the set.  When the
 * DSA area has no room, a clock hand goes over all sets and evicts whatever
 * was not used since its last turn.  Evicting one by one can leave free memory
 * in pieces that are too small, since the DSA keeps small objects together in
 * blocks of 64 kB; then all entries inside one window of addresses go, so that
 * whole blocks become free.  Both are bounded; if even that fails the value is
 * not cached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "memory.h"
#include "memory_block.h"

/* The DSA keeps objects up to 8 kB in blocks of this size. */
#define DSA_BLOCK_SIZE		(64 * 1024)

/*
 * Turns of the clock before windows are cleared.  Each doubles what it evicts,
 * all for nothing where memory is in pieces.
 */
#define CLOCK_TRIES			3

/* Most windows: to clear one takes a look at all sets, and must be worth it. */
#define WINDOWS_MAX			512

/* What a sweep over a bucket takes away. */
typedef struct Sweep
{
	bool		by_window;		/* else: whatever was not used lately */
	bool		spare_dirty;	/* not what has yet to be written */
	dsa_pointer from;
	dsa_pointer to;				/* not included */
} Sweep;

static bool
sweep_takes(const Sweep *sweep, uint32 b, int s)
{
	dsa_pointer pointer = POINTER_OF_UNIT(wbc_memory_buckets[b].unit[s]);

	if (!DsaPointerIsValid(pointer))
		return false;
	if (sweep->by_window)
		return pointer >= sweep->from && pointer < sweep->to;
	if (sweep->spare_dirty && wbc_memory_is_dirty(b, s))
		return false;
	return pg_atomic_exchange_u32(&wbc_memory_entry(pointer)->used, 0) == 0;
}

/*
 * Takes what the sweep takes out of one bucket; returns the bytes that were
 * given back, those of entries that are still pinned included.
 */
static Size
sweep_bucket(uint32 b, const Sweep *sweep)
{
	dsa_pointer gone[SLOTS_PER_BUCKET];
	int			n = 0;
	Size		bytes = 0;

	LWLockAcquire(wbc_memory_lock(b), LW_EXCLUSIVE);
	for (int s = 0; s < SLOTS_PER_BUCKET; s++)
		if (sweep_takes(sweep, b, s))
			gone[n++] = wbc_memory_clear_slot(b, s);
	LWLockRelease(wbc_memory_lock(b));

	for (int i = 0; i < n; i++)
	{
		bytes += wbc_memory_entry(gone[i])->size;
		wbc_memory_unpin(gone[i]);
	}
	(void) pg_atomic_fetch_add_u64(&wbc_memory->evictions, n);
	return bytes;
}

/*
 * Is what is dirty few enough to be spared?  Where nobody writes the table
 * tier, soon everything is dirty.
 */
bool
wbc_memory_can_spare_dirty(void)
{
	uint64		dirty = pg_atomic_read_u64(&wbc_memory->dirty);

	return dirty < pg_atomic_read_u64(&wbc_memory->entries) / 2 ||
		dirty < wbc_memory_count_slots() / 8;
}

/*
 * Moves the clock hand until at least this many bytes went: at most twice
 * round for what is clean, and twice more for what is dirty.
 */
static Size
evict_by_clock(Size wanted)
{
	uint64		rounds = 2 * (uint64) wbc_memory_nbuckets;
	Sweep		sweep = {.by_window = false};
	Size		bytes = 0;
	bool		spare = wbc_memory_can_spare_dirty();

	for (uint64 i = 0; i < 2 * rounds && bytes < wanted; i++)
	{
		sweep.spare_dirty = spare && i < rounds;
		bytes += sweep_bucket(pg_atomic_fetch_add_u32(&wbc_memory->clock_hand, 1) &
							  (wbc_memory_nbuckets - 1), &sweep);
	}
	return bytes;
}

/*
 * Evicts all that lies within the next window of this many bytes.
 */
static void
evict_window(Size window)
{
	Sweep		sweep = {.by_window = true};

	sweep.from = pg_atomic_fetch_add_u64(&wbc_memory->window_hand, window) %
		wbc_memory->dsa_size;
	sweep.to = sweep.from + window;
	for (uint32 b = 0; b < wbc_memory_nbuckets; b++)
		(void) sweep_bucket(b, &sweep);
}

/*
 * Allocates, evicting as far as it must.  Returns InvalidDsaPointer when no
 * room could be made; never throws.
 */
dsa_pointer
wbc_memory_allocate(Size size)
{
	Size		window = Max(size + 2 * DSA_BLOCK_SIZE,
							 wbc_memory->dsa_size / WINDOWS_MAX);
	Size		wanted = size;
	dsa_pointer pointer;

	pointer = dsa_allocate_extended(wbc_memory_area, size, DSA_ALLOC_NO_OOM);
	for (int i = 0; i < CLOCK_TRIES && !DsaPointerIsValid(pointer); i++)
	{
		if (evict_by_clock(wanted) == 0 || wanted > wbc_memory->dsa_size / 8)
			break;
		wanted *= 2;
		pointer = dsa_allocate_extended(wbc_memory_area, size, DSA_ALLOC_NO_OOM);
	}
	for (Size cleared = 0;
		 cleared < wbc_memory->dsa_size + window && !DsaPointerIsValid(pointer);
		 cleared += window)
	{
		evict_window(window);
		pointer = dsa_allocate_extended(wbc_memory_area, size, DSA_ALLOC_NO_OOM);
	}
	if (!DsaPointerIsValid(pointer))
		(void) pg_atomic_fetch_add_u64(&wbc_memory->refused, 1);
	return pointer;
}
