/*-------------------------------------------------------------------------
 *
 * memory_use.c
 *	  Which entries of the memory tier are used most.
 *
 * Layer 2, a part of memory.c, where the lock protocol is.
 *
 * An entry's uses are counted in the upper half of its pins, by the same atomic
 * add that pins it for a read: so that they cost a hit nothing.  A later value
 * of the same key takes them over.  They age: whoever collects them takes a
 * sixteenth off each minute, so that after 11 minutes a use counts half.  The
 * count is approximate: after 2^32 uses without anybody who lets them age it
 * begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "memory.h"
#include "memory_block.h"

StaticAssertDecl(WBC_USES_MAX == SLOTS_PER_BUCKET,
				 "a bucket's uses should have room");

/* More uses don't make an entry hotter, and leave room to count on. */
#define USES_ENOUGH		((uint32) 1 << 30)

/* Ages after which nothing is left of any count. */
#define AGES_MAX		512

/*
 * What so many uses are worth after some ages, which are minutes.
 */
uint32
wbc_memory_aged(uint32 uses, int64 ages)
{
	for (int64 age = Min(ages, AGES_MAX); age > 0 && uses > 0; age--)
		uses -= uses / 16 + (uses % 16 != 0);
	return uses;
}

/*
 * Lets an entry's uses age.  Returns what is left.
 */
static uint32
let_age(WbcEntry *entry, int ages)
{
	uint32		uses = USES_OF(pg_atomic_read_u64(&entry->refs));
	uint32		left = wbc_memory_aged(Min(uses, USES_ENOUGH), ages);

	if (left < uses)
		(void) pg_atomic_fetch_sub_u64(&entry->refs, (uses - left) * ONE_USE);
	return left;
}

/*
 * Lets the uses of one bucket age, as far as they are of this database, and
 * copies those of values without an owner that have more than "above".  The
 * cursor moves on to the next bucket; all was seen when it is back at 0.  Returns
 * how many were copied, WBC_USES_MAX at most.
 */
int
wbc_memory_collect_uses(Oid dbid, uint32 *cursor, int ages, uint32 above,
						WbcUse *out)
{
	uint32		b = *cursor;
	int			n = 0;

	*cursor = (b + 1) & (wbc_memory_nbuckets - 1);
	LWLockAcquire(wbc_memory_lock(b), LW_SHARED);
	for (int s = 0; s < SLOTS_PER_BUCKET; s++)
	{
		WbcEntry   *entry;
		uint32		uses;

		if (wbc_memory_buckets[b].unit[s] == 0)
			continue;
		entry = wbc_memory_entry_in(&wbc_memory_buckets[b], s);
		if (entry->dbid != dbid || OidIsValid(entry->scope))
			continue;
		uses = let_age(entry, ages);
		if (uses <= above || entry->kind != WBC_ENTRY_VALUE)
			continue;
		out[n].uses = uses;
		wbc_memory_key(entry, &out[n].key);
		n++;
	}
	LWLockRelease(wbc_memory_lock(b));

	return n;
}
