/*-------------------------------------------------------------------------
 *
 * memory_block.h
 *	  What memory.c, memory_dirty.c, memory_room.c and memory_use.c share, and
 *	  nobody else may include.
 *	  The lock protocol is in memory.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_MEMORY_BLOCK_H
#define WBC_MEMORY_BLOCK_H

#include "memory.h"
#include "storage/lwlock.h"

#define PARTITIONS			128
#define SLOTS_PER_BUCKET	8

/* The index is sized for values of this many bytes. */
#define EXPECTED_VALUE_SIZE	1024

/* All of it: partition lock. */
typedef struct Bucket
{
	uint32		tag[SLOTS_PER_BUCKET];	/* upper half of the hash */
	uint32		unit[SLOTS_PER_BUCKET]; /* where the entry is; 0: empty */
} Bucket;

StaticAssertDecl(sizeof(Bucket) == 64, "a bucket should fill a cache line");

/*
 * The area has one segment, so that a dsa_pointer is an offset into it, and
 * that is a multiple of 8: 32 bits reach 32 GB far, the most that
 * wbcache.memory_size allows.
 */
#define POINTER_OF_UNIT(unit)	((dsa_pointer) (unit) * 8)
#define UNIT_OF_POINTER(pointer)	((uint32) ((pointer) / 8))

typedef struct Memory
{
	int			dsa_tranche;	/* never changes */
	Size		size;			/* of the whole block; never changes */
	Size		dsa_size;		/* never changes */
	pg_atomic_uint32 clock_hand;	/* next bucket */
	pg_atomic_uint64 window_hand;	/* next address to be cleared */
	pg_atomic_uint64 used;
	pg_atomic_uint64 entries;
	pg_atomic_uint64 stores;
	pg_atomic_uint64 evictions;
	pg_atomic_uint64 refused;
	pg_atomic_uint64 dirty;		/* slots */
	uint32		hands[PARTITIONS];	/* partition lock; slot looked at next */
} Memory;

extern Memory *wbc_memory;
extern Bucket *wbc_memory_buckets;
extern uint8 *wbc_memory_dirty; /* a bit a slot, a byte a bucket; partition
								 * lock */
extern LWLockPadded *wbc_memory_locks;
extern dsa_area *wbc_memory_area;	/* this process's attachment */
extern uint32 wbc_memory_nbuckets;	/* a power of two; never changes */

static inline LWLock *
wbc_memory_lock(uint32 bucket)
{
	return &wbc_memory_locks[bucket % PARTITIONS].lock;
}

static inline uint32
wbc_memory_bucket_of(uint64 hash)
{
	return hash & (wbc_memory_nbuckets - 1);
}

static inline WbcEntry *
wbc_memory_entry_in(const Bucket *bucket, int s)
{
	return wbc_memory_entry(POINTER_OF_UNIT(bucket->unit[s]));
}

static inline uint64
wbc_memory_count_slots(void)
{
	return (uint64) wbc_memory_nbuckets * SLOTS_PER_BUCKET;
}

/* Hold the partition lock in these. */
static inline bool
wbc_memory_is_dirty(uint32 b, int s)
{
	return (wbc_memory_dirty[b] & (1 << s)) != 0;
}

/* See memory_use.c. */
#define ONE_USE			(UINT64CONST(1) << 32)
#define USES_OF(refs)	((uint32) ((refs) >> 32))
#define PINS_OF(refs)	((uint32) (refs))

extern int	wbc_memory_find_slot(const Bucket *bucket, const WbcKey *key);
extern dsa_pointer wbc_memory_clear_slot(uint32 b, int s);
extern void wbc_memory_set_dirty(uint32 b, int s);
extern void wbc_memory_set_clean(uint32 b, int s);

extern bool wbc_memory_can_spare_dirty(void);
extern dsa_pointer wbc_memory_allocate(Size size);

#endif							/* WBC_MEMORY_BLOCK_H */
