/*-------------------------------------------------------------------------
 *
 * glob.c
 *	  Invalidation of all keys that match a pattern.
 *
 * Layer 2.  To enumerate the keys would take long, and miss those fetched
 * between the enumeration and the commit.  So nothing is enumerated: the globs
 * share a stripe, which every value carries, and the last globs are kept in
 * a log.  A reader who finds that the stripe has moved since the value was
 * fetched, or was looked at last, matches its key against the globs that came
 * since.  If none matches, what he has seen of the stripe moves forward, so
 * that each value pays once for each glob.
 *
 * In globs * stands for any characters, colons too, ? for one character, and a
 * backslash takes the meaning from what follows.
 *
 * The log.  A place holds nothing (mark 0), a glob whose transaction is about
 * to commit (ABOUT_TO_COMMIT, larger than any generation), or one that has
 * committed (the generation which that commit gave the stripe).  So those that
 * concern a value are those with a mark above what it has seen.  A new glob
 * takes a free place, else that of the oldest one committed, whose generation
 * is then remembered as "lapped": a value that has seen less can't be sure any
 * more, and is not believed.
 *
 * Lock protocol.  One lock guards the log and every change of the stripe: both
 * change together.  Readers who find the stripe as they have seen it, with no
 * commit in progress, take no lock; those who compare take it shared.  It is
 * the last one taken: the flight lock and a partition lock of the memory tier
 * may be held.
 *
 * Why a glob in progress that doesn't match does no harm to a stamp, other
 * than a commit in progress on any other stripe: the lock shows which one it is.
 * When it commits it gets a generation above the stamp's, and is compared again.
 *
 * The log survives a clean restart, beside the stripes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "glob.h"
#include "keep.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "shmem.h"
#include "storage/ipc.h"

#define FREE			UINT64CONST(0)
#define ABOUT_TO_COMMIT	PG_UINT64_MAX

typedef struct Glob
{
	Oid			dbid;
	uint16		len;
	char		text[WBC_GLOB_MAX];
} Glob;

typedef struct Log
{
	uint64		life;			/* of the stripes it belongs to; set at start */
	uint64		lapped;			/* lock; the last generation that is forgotten */
	uint64		mark[WBC_GLOBS_MAX];	/* lock */
	Glob		glob[WBC_GLOBS_MAX];	/* lock */
} Log;

static Log *globs;
static LWLock *lock;

/* ----------------------------------------------------------------
 * The log
 * ----------------------------------------------------------------
 */

static Size
log_size(void)
{
	return sizeof(Log);
}

static void
save_log(int code, Datum arg)
{
	if (code == 0)
		wbc_keep_save("globs", globs, sizeof(Log));
}

/* Knows nothing of what was before. */
static void
start_log(void)
{
	memset(globs, 0, sizeof(Log));
	globs->life = wbc_generation_life();
	globs->lapped = wbc_generation_settled(wbc_generation_read(WBC_STRIPE_GLOBS));
}

/* Is a commit said to be in progress, when none can be? */
static bool
is_unsettled(void)
{
	for (int i = 0; i < WBC_GLOBS_MAX; i++)
		if (globs->mark[i] == ABOUT_TO_COMMIT)
			return true;
	return false;
}

static void
log_attach(void *place, LWLockPadded *locks, bool found)
{
	globs = place;
	lock = &locks[0].lock;
	if (found)
		return;

	if (!wbc_keep_load("globs", globs, sizeof(Log)) ||
		globs->life != wbc_generation_life() || is_unsettled())
		start_log();
	if (!IsUnderPostmaster)
		on_shmem_exit(save_log, (Datum) 0);
}

/*
 * To be called after wbc_generation_register().
 */
void
wbc_glob_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_glob",
		.nlocks = 1,
		.size = log_size,
		.attach = log_attach
	};

	wbc_shmem_register(&piece);
}

/* ----------------------------------------------------------------
 * Matching
 * ----------------------------------------------------------------
 */

/*
 * Does every backslash have something to take the meaning from?
 */
bool
wbc_glob_is_complete(const char *glob, int len)
{
	int			backslashes = 0;

	while (backslashes < len && glob[len - 1 - backslashes] == '\\')
		backslashes++;
	return backslashes % 2 == 0;
}

static inline int
char_len(const char *at, const char *end)
{
	return Min(pg_mblen(at), (int) (end - at));
}

/*
 * Does the glob match all of the text?  Both are in the database's encoding.
 * Goes back to the last * only, so that the time is at most the product of the
 * two lengths.
 */
bool
wbc_glob_matches(const char *glob, int glob_len, const char *text, int len)
{
	const char *g = glob;
	const char *glob_end = glob + glob_len;
	const char *t = text;
	const char *end = text + len;
	const char *after_star = NULL;
	const char *star_takes = NULL;	/* text up to here */

	while (t < end)
	{
		if (g < glob_end && *g == '*')
		{
			after_star = ++g;
			star_takes = t;
		}
		else if (g < glob_end && *g == '?')
		{
			g++;
			t += char_len(t, end);
		}
		else if (g < glob_end && *g == '\\' && g + 1 < glob_end && g[1] == *t)
		{
			g += 2;
			t++;
		}
		else if (g < glob_end && *g != '\\' && *g == *t)
		{
			g++;
			t++;
		}
		else if (after_star != NULL)
		{
			star_takes += char_len(star_takes, end);
			t = star_takes;
			g = after_star;
		}
		else
			return false;
	}
	while (g < glob_end && *g == '*')
		g++;
	return g == glob_end;
}

/*
 * Does a glob that came after what was seen match the key?  Own globs don't
 * count.  Hold the lock.
 */
static bool
is_hit(Oid dbid, const char *key, int len, uint64 seen,
	   const WbcGlobHold *own, int nown)
{
	for (int i = 0; i < WBC_GLOBS_MAX; i++)
	{
		const Glob *glob = &globs->glob[i];
		bool		mine = false;

		if (globs->mark[i] <= seen || glob->dbid != dbid)
			continue;
		for (int o = 0; o < nown; o++)
			mine |= own[o].slot == i && own[o].generation == globs->mark[i];
		if (!mine && wbc_glob_matches(glob->text, glob->len, key, len))
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------
 * The three moments
 * ----------------------------------------------------------------
 */

/* A free place, else the oldest of those committed, else -1.  Hold the lock. */
static int
choose_place(void)
{
	int			oldest = 0;

	for (int i = 0; i < WBC_GLOBS_MAX; i++)
		if (globs->mark[i] < globs->mark[oldest])
			oldest = i;
	return globs->mark[oldest] == ABOUT_TO_COMMIT ? -1 : oldest;
}

/*
 * A transaction is about to commit.  Returns false when there is no place for
 * its glob; it has to invalidate more then.
 */
bool
wbc_glob_begin(Oid dbid, const char *glob, int len, WbcGlobHold *hold)
{
	Assert(len <= WBC_GLOB_MAX);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hold->slot = choose_place();
	if (hold->slot >= 0)
	{
		Glob	   *mine = &globs->glob[hold->slot];

		globs->lapped = Max(globs->lapped, globs->mark[hold->slot]);
		globs->mark[hold->slot] = ABOUT_TO_COMMIT;
		mine->dbid = dbid;
		mine->len = len;
		memcpy(mine->text, glob, len);
		wbc_generation_begin(WBC_STRIPE_GLOBS);
	}
	LWLockRelease(lock);

	return hold->slot >= 0;
}

void
wbc_glob_commit(WbcGlobHold *hold)
{
	uint64		before;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	before = wbc_generation_commit(WBC_STRIPE_GLOBS);
	hold->generation = wbc_generation_after_commit(before);
	globs->mark[hold->slot] = hold->generation;
	LWLockRelease(lock);
}

void
wbc_glob_abort(const WbcGlobHold *hold)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	wbc_generation_abort(WBC_STRIPE_GLOBS);
	globs->mark[hold->slot] = FREE;
	LWLockRelease(lock);
}

/* ----------------------------------------------------------------
 * For stamps
 * ----------------------------------------------------------------
 */

/*
 * The stripe is not, or not quite, what was seen.  Is the key none of those
 * that globs have invalidated since, or are about to?  Then *now is what may be
 * taken for seen.  Doesn't throw.
 */
bool
wbc_glob_catch_up(Oid dbid, const char *key, int len, uint64 seen, uint64 *now)
{
	bool		good;

	if (seen != wbc_generation_settled(seen))
		return false;

	LWLockAcquire(lock, LW_SHARED);
	good = globs->lapped <= seen && !is_hit(dbid, key, len, seen, NULL, 0);
	*now = wbc_generation_settled(wbc_generation_read(WBC_STRIPE_GLOBS));
	LWLockRelease(lock);

	return good;
}

/*
 * A stamp was taken while globs were about to commit.  If none of them is
 * about the key, *seen is set to what the stripe would hold without them.
 */
void
wbc_glob_settle(const WbcKey *key, uint64 *seen)
{
	LWLockAcquire(lock, LW_SHARED);
	*seen = wbc_generation_read(WBC_STRIPE_GLOBS);
	if (!is_hit(key->dbid, key->data, key->len, wbc_generation_settled(*seen),
				NULL, 0))
		*seen = wbc_generation_settled(*seen);
	LWLockRelease(lock);
}

/*
 * Moves what a value that is set has seen past the globs of the transaction
 * that sets it.  Returns false if somebody else's have hit it, or may have.
 */
bool
wbc_glob_carry(const WbcKey *key, const WbcGlobHold *own, int nown,
			   uint64 *seen)
{
	uint64		since = wbc_generation_settled(*seen);
	bool		good;

	LWLockAcquire(lock, LW_SHARED);
	good = globs->lapped <= since &&
		!is_hit(key->dbid, key->data, key->len, since, own, nown);
	*seen = wbc_generation_settled(wbc_generation_read(WBC_STRIPE_GLOBS));
	LWLockRelease(lock);

	return good;
}
