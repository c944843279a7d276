/*-------------------------------------------------------------------------
 *
 * stamp.c
 *	  Taking and checking the stamps of keys.
 *
 * Layer 2.  What generation.c knows of stripes, together with what can't be
 * known without the key: which globs match it, and which games it is
 * registered for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "glob.h"
#include "port/atomics.h"
#include "registry.h"
#include "stamp.h"

/* Where the globs' stripe is in a stamp that has it. */
#define GLOBS	1

static inline bool
has_globs(int n, const uint32 *stripe)
{
	return n > GLOBS && stripe[GLOBS] == WBC_STRIPE_GLOBS;
}

/*
 * Reads the stripes, before anything is read from the source, and adds those
 * that the key is registered for.
 */
void
wbc_stamp_take(const WbcKey *key, WbcStamp *stamp)
{
	wbc_generation_stamp_take(stamp);
	if (!has_globs(stamp->n, stamp->stripe))
		return;

	if (stamp->seen[GLOBS] != wbc_generation_settled(stamp->seen[GLOBS]))
		wbc_glob_settle(key, &stamp->seen[GLOBS]);
	wbc_registry_stamp(key, stamp);
	pg_memory_barrier();
}

/*
 * A value's stamp is not current as it stands.  Is it, but for globs that
 * don't match its key?  Then what it has seen of their stripe moves forward.
 * That is a store of eight aligned bytes, which others may do at the same time:
 * whichever comes last is true.
 */
bool
wbc_stamp_catch_up(Oid dbid, const char *key, int len, int n,
				   const uint32 *stripe, uint64 *seen)
{
	uint64		now;

	if (!has_globs(n, stripe) ||
		!wbc_generation_is_current(GLOBS, stripe, seen) ||
		!wbc_generation_is_current(n - GLOBS - 1, stripe + GLOBS + 1,
								   seen + GLOBS + 1) ||
		!wbc_glob_catch_up(dbid, key, len, seen[GLOBS], &now))
		return false;
#ifdef PG_HAVE_8BYTE_SINGLE_COPY_ATOMICITY
	*(volatile uint64 *) &seen[GLOBS] = now;
#endif
	return true;
}

bool
wbc_stamp_is_current(const WbcKey *key, const WbcStamp *stamp)
{
	uint64		seen[WBC_STAMP_MAX];

	if (wbc_generation_is_current(stamp->n, stamp->stripe, stamp->seen))
		return true;
	memcpy(seen, stamp->seen, stamp->n * sizeof(uint64));
	return wbc_stamp_catch_up(key->dbid, key->data, key->len, stamp->n,
							  stamp->stripe, seen);
}
