/*-------------------------------------------------------------------------
 *
 * warmer_state.c
 *	  What the warmer of each database has done, and does.
 *
 * Layer 2.  A page for each database, under one lock, written by the one run
 * that a database has at a time (warmer.c holds a lock for that), and read by
 * whoever asks; but the fetcher counts its refreshes ahead there, transactions
 * say at their commit that a run is wanted, and a loader that one will come.
 * All functions are about the database of this process.  When all pages are
 * taken, that of the database whose warmer has run least lately goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "mb/pg_wchar.h"
#include "shmem.h"
#include "warmer_state.h"

typedef struct Pages
{
	WbcWarmerState page[WBC_DATABASES_MAX]; /* lock */
} Pages;

static Pages *pages;
static LWLock *lock;

static Size
pages_size(void)
{
	return sizeof(Pages);
}

static void
pages_attach(void *place, LWLockPadded *locks, bool found)
{
	pages = place;
	lock = &locks[0].lock;
	if (!found)
		memset(pages, 0, sizeof(Pages));
}

void
wbc_warmer_state_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_warmer",
		.nlocks = 1,
		.size = pages_size,
		.attach = pages_attach
	};

	wbc_shmem_register(&piece);
}

/* Hold the lock.  Returns NULL when there is none. */
static WbcWarmerState *
find_page(void)
{
	for (int i = 0; i < WBC_DATABASES_MAX; i++)
		if (pages->page[i].dbid == MyDatabaseId)
			return &pages->page[i];
	return NULL;
}

/* Hold the lock. */
static WbcWarmerState *
make_page(void)
{
	WbcWarmerState *page = &pages->page[0];

	for (int i = 1; i < WBC_DATABASES_MAX; i++)
		if (pages->page[i].started_at < page->started_at)
			page = &pages->page[i];
	memset(page, 0, sizeof(WbcWarmerState));
	page->dbid = MyDatabaseId;
	return page;
}

/*
 * A run begins, in this process, and sees all that is committed by now.  Returns
 * how many requests it may make, of the budget of so many an interval.
 */
int
wbc_warmer_state_begin(TimestampTz now, int budget, int64 interval)
{
	WbcWarmerState *page;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	page = find_page();
	if (page == NULL)
		page = make_page();
	page->pid = MyProcPid;
	page->started_at = now;
	page->runs++;
	page->wanted = 0;
	if (!page->early || now >= page->budget_until)
	{
		page->budget = budget;
		page->budget_until = now + interval;
	}
	budget = Min(budget, page->budget);
	page->early = false;
	page->error[0] = '\0';
	memset(&page->now, 0, sizeof(WbcWarmerCounts));
	LWLockRelease(lock);
	return budget;
}

/*
 * What the run under way has done so far, and has left of its budget; error may be
 * NULL.
 */
void
wbc_warmer_state_put(const WbcWarmerCounts *counts, int budget, const char *error)
{
#define ADD(name, description) page->total.name += counts->name - page->now.name;
	int			len = error == NULL ? 0 :
		pg_mbcliplen(error, strlen(error), sizeof(((WbcWarmerState *) NULL)->error) - 1);
	WbcWarmerState *page;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	page = find_page();
	if (page != NULL)
	{
		WBC_WARMER_COUNTERS(ADD)
		page->now = *counts;
		page->budget = budget;
		if (error != NULL)
		{
			memcpy(page->error, error, len);
			page->error[len] = '\0';
		}
	}
	LWLockRelease(lock);
#undef ADD
}

/*
 * The run has ended.  Returns whether the next one is wanted already.  Throws
 * nothing.
 */
bool
wbc_warmer_state_end(WbcWarmerEnd end, TimestampTz now)
{
	WbcWarmerState *page;
	bool		is_wanted = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	page = find_page();
	if (page != NULL && page->pid == MyProcPid)
	{
		page->pid = 0;
		page->end = end;
		page->ended_at = now;
		page->last_errors = page->now.errors;
		is_wanted = page->wanted > 0;
	}
	LWLockRelease(lock);
	return is_wanted;
}

/*
 * A refresh ahead was started.
 */
void
wbc_warmer_state_count_ahead(void)
{
	WbcWarmerState *page;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	page = find_page();
	if (page != NULL)
		page->refreshes_ahead++;
	LWLockRelease(lock);
}

/*
 * What a run would warm has changed.  Returns true if that is news.  A database
 * whose warmer has never run wants none.
 */
bool
wbc_warmer_state_want(void)
{
	WbcWarmerState *page;
	bool		is_news = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	page = find_page();
	if (page != NULL)
		is_news = page->wanted++ == 0;
	LWLockRelease(lock);
	return is_news;
}

/*
 * How often a run was wanted since the last one began; 0 too while one is under
 * way, whose end is to be waited for, or promised and about to begin.
 */
uint32
wbc_warmer_state_wanted(void)
{
	const WbcWarmerState *page;
	uint32		wanted;

	LWLockAcquire(lock, LW_SHARED);
	page = find_page();
	wanted = page == NULL || page->pid != 0 || page->early ? 0 : page->wanted;
	LWLockRelease(lock);
	return wanted;
}

/*
 * A run will begin before its time, for all that was wanted when "wanted" was
 * asked for.
 */
void
wbc_warmer_state_promise(uint32 wanted)
{
	WbcWarmerState *page;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	page = find_page();
	if (page != NULL)
	{
		page->early = true;
		if (page->wanted == wanted)
			page->wanted = 0;
	}
	LWLockRelease(lock);
}

/*
 * A copy; all zero when there was no run yet.
 */
void
wbc_warmer_state_read(WbcWarmerState *state)
{
	const WbcWarmerState *page;

	memset(state, 0, sizeof(WbcWarmerState));
	LWLockAcquire(lock, LW_SHARED);
	page = find_page();
	if (page != NULL)
		*state = *page;
	LWLockRelease(lock);
}
