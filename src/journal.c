/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  What was invalidated: counters, the rate, and the latest events.
 *
 * Layer 2.  Written by transactions that have committed, in their commit
 * callback: nothing here throws or allocates, and a transaction writes a
 * bounded number of events, however much it has invalidated.
 *
 * One lock guards all of it, taken once by each such transaction; so the sum of
 * the reasons is always the sum of the targets.  A database has a page of its
 * own, found before the commit; those that came when all were taken share the
 * first one.  Every function is about the database of this process.  The events of all databases are in one ring; each event knows its
 * number within its database, so that a reader can tell how many are gone.
 *
 * What is invalidated everywhere is an event in every database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "journal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "shmem.h"
#include "utils/timestamp.h"

/* One of the pages is for all databases that have none of their own. */
#define SHARED_PAGE		0

/* The rate is counted over so many seconds. */
#define WINDOW			60

#define WARNING_INTERVAL	(60 * USECS_PER_SEC)

typedef struct Second
{
	int64		second;			/* since the epoch of TimestampTz */
	uint64		count;
} Second;

/* One database's.  All of it: lock. */
typedef struct Page
{
	Oid			dbid;			/* InvalidOid: free, or the shared page */
	WbcJournalInfo info;
	uint64		sent;			/* number of the last event sent */
	TimestampTz warned_at;
	Second		window[WINDOW];
} Page;

typedef struct Journal
{
	uint64		epoch;			/* set at start */
	uint64		next;			/* lock; where the next event goes */
	Page		page[WBC_DATABASES_MAX];
	WbcEvent	ring[WBC_EVENTS_MAX];	/* lock */
} Journal;

static Journal *journal;
static LWLock *lock;
static int	my_page = -1;		/* of this process, once prepared */

static Size
journal_size(void)
{
	return sizeof(Journal);
}

static void
journal_attach(void *place, LWLockPadded *locks, bool found)
{
	journal = place;
	lock = &locks[0].lock;
	if (found)
		return;
	memset(journal, 0, sizeof(Journal));
	if (!pg_strong_random(&journal->epoch, sizeof(uint64)))
		journal->epoch = (uint64) GetCurrentTimestamp();
}

void
wbc_journal_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_journal",
		.nlocks = 1,
		.size = journal_size,
		.attach = journal_attach
	};

	wbc_shmem_register(&piece);
}

/* ----------------------------------------------------------------
 * Pages
 * ----------------------------------------------------------------
 */

/* Hold the lock.  Returns -1 when there is none. */
static int
find_page(Oid dbid)
{
	for (int i = SHARED_PAGE + 1; i < WBC_DATABASES_MAX; i++)
		if (journal->page[i].dbid == dbid)
			return i;
	return -1;
}

static int
find_or_make_page(Oid dbid)
{
	int			i;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	i = find_page(dbid);
	if (i < 0)
	{
		i = find_page(InvalidOid);
		if (i > 0)
		{
			memset(&journal->page[i], 0, sizeof(Page));
			journal->page[i].dbid = dbid;
		}
	}
	LWLockRelease(lock);
	return i;
}

/*
 * All pages are taken: frees those of databases that are gone.
 */
static void
free_pages(void)
{
	for (int i = SHARED_PAGE + 1; i < WBC_DATABASES_MAX; i++)
	{
		Oid			dbid;
		char	   *name;

		LWLockAcquire(lock, LW_SHARED);
		dbid = journal->page[i].dbid;
		LWLockRelease(lock);
		name = get_database_name(dbid);
		if (name != NULL)
		{
			pfree(name);
			continue;
		}
		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (journal->page[i].dbid == dbid)
			journal->page[i].dbid = InvalidOid;
		LWLockRelease(lock);
	}
}

/*
 * To be called in a transaction, before any of the functions below; cheap when
 * it was called before.
 */
void
wbc_journal_prepare(void)
{
	if (likely(my_page >= 0))
		return;

	my_page = find_or_make_page(MyDatabaseId);
	if (my_page < 0)
	{
		free_pages();
		my_page = find_or_make_page(MyDatabaseId);
	}
	if (my_page < 0)
		my_page = SHARED_PAGE;
}

/* ----------------------------------------------------------------
 * Writing.  Hold the lock in all of the static functions.
 * ----------------------------------------------------------------
 */

static inline int64
second_of(TimestampTz now)
{
	return now / USECS_PER_SEC;
}

static void
count_in_window(Page *page, uint64 count, TimestampTz now)
{
	Second	   *second = &page->window[second_of(now) % WINDOW];

	if (second->second != second_of(now))
	{
		second->second = second_of(now);
		second->count = 0;
	}
	second->count += count;
}

static uint64
count_of_window(const Page *page, TimestampTz now)
{
	uint64		count = 0;

	for (int i = 0; i < WINDOW; i++)
		if (page->window[i].second > second_of(now) - WINDOW &&
			page->window[i].second <= second_of(now))
			count += page->window[i].count;
	return count;
}

static void
put_event(Page *page, const WbcNote *note, uint64 count, TimestampTz now)
{
	WbcEvent   *event = &journal->ring[journal->next++ % WBC_EVENTS_MAX];

	event->number = ++page->info.events;
	event->at = now;
	event->dbid = page->dbid;
	event->reason = note->reason;
	event->target = note->target;
	event->count = count;
	event->len = note->len;
	if (note->len > 0)
		memcpy(event->what, note->what, note->len);
}

/* In every database. */
static void
put_events_everywhere(const WbcNote *note, uint64 count, TimestampTz now)
{
	for (int i = 0; i < WBC_DATABASES_MAX; i++)
		if (i == SHARED_PAGE || OidIsValid(journal->page[i].dbid))
			put_event(&journal->page[i], note, count, now);
}

/*
 * One event for all those of a kind that have none of their own.
 */
static void
put_sum(Page *page, const WbcNote *note, uint64 count, TimestampTz now)
{
	if (count == 0)
		return;
	if (note->target == WBC_TARGET_EVERYTHING)
		put_events_everywhere(note, count, now);
	else
		put_event(page, note, count, now);
}

/*
 * A transaction has committed that has invalidated this.  Never throws.
 */
void
wbc_journal_write(const WbcTally *tally, TimestampTz now)
{
	Page	   *page = &journal->page[my_page];
	uint64		rest[WBC_REASONS][WBC_TARGETS];
	uint64		total = 0;

	Assert(my_page >= 0);
	memcpy(rest, tally->count, sizeof(rest));

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < tally->nnotes; i++)
	{
		put_event(page, &tally->note[i], 1, now);
		rest[tally->note[i].reason][tally->note[i].target]--;
	}
	for (WbcReason reason = 0; reason < WBC_REASONS; reason++)
		for (WbcTarget target = 0; target < WBC_TARGETS; target++)
		{
			WbcNote		note = {.reason = reason,.target = target};
			uint64		count = tally->count[reason][target];

			page->info.by_reason[reason] += count;
			page->info.by_target[target] += count;
			total += count;
			put_sum(page, &note, rest[reason][target], now);
		}
	count_in_window(page, total, now);
	LWLockRelease(lock);
}

/*
 * So many rows of the table tier were of no use any more.
 */
void
wbc_journal_count_purged(uint64 rows)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	journal->page[my_page].info.rows_purged += rows;
	LWLockRelease(lock);
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

void
wbc_journal_info(TimestampTz now, WbcJournalInfo *info)
{
	const Page *page = &journal->page[my_page];

	LWLockAcquire(lock, LW_SHARED);
	*info = page->info;
	info->per_minute = count_of_window(page, now);
	LWLockRelease(lock);
}

/*
 * Sets the database's counters to zero; leaves the events.
 */
void
wbc_journal_reset(void)
{
	Page	   *page = &journal->page[my_page];
	uint64		events;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	events = page->info.events;
	memset(&page->info, 0, sizeof(page->info));
	page->info.events = events;
	LWLockRelease(lock);
}

/*
 * Copies the events of the database that came after that number, the oldest
 * first, up to max.  *lost says how many are missing before the first of them.
 */
int
wbc_journal_read(uint64 after, WbcEvent *events, int max, uint64 *lost)
{
	const Page *page = &journal->page[my_page];
	uint64		first;
	int			n = 0;

	LWLockAcquire(lock, LW_SHARED);
	first = journal->next > WBC_EVENTS_MAX ? journal->next - WBC_EVENTS_MAX : 0;
	for (uint64 i = first; i < journal->next && n < max; i++)
	{
		const WbcEvent *event = &journal->ring[i % WBC_EVENTS_MAX];

		if (event->dbid == page->dbid && event->number > after)
			events[n++] = *event;
	}
	*lost = (n > 0 ? events[0].number - 1 : page->info.events) - after;
	LWLockRelease(lock);

	return n;
}

/* ----------------------------------------------------------------
 * Sending and warning
 * ----------------------------------------------------------------
 */

/*
 * Names one life of the journal: another one says that events may be missing.
 */
uint64
wbc_journal_epoch(void)
{
	return journal->epoch;
}

/*
 * Are there events that were not sent yet?  *sent is the last one that was.
 * Those on the shared page are never sent: who listens in one database must not
 * hear what is in another.
 */
bool
wbc_journal_has_unsent(uint64 *sent)
{
	const Page *page = &journal->page[my_page];
	bool		unsent;

	LWLockAcquire(lock, LW_SHARED);
	*sent = page->sent;
	unsent = my_page != SHARED_PAGE && page->info.events > *sent;
	LWLockRelease(lock);
	return unsent;
}

void
wbc_journal_set_sent(uint64 number)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	journal->page[my_page].sent = number;
	LWLockRelease(lock);
}

/*
 * Is the rate above the limit, and was that not said within the last minute?
 * Whoever gets true says so.
 */
bool
wbc_journal_claim_warning(uint64 limit, TimestampTz now, uint64 *rate)
{
	Page	   *page = &journal->page[my_page];
	bool		claimed;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	*rate = count_of_window(page, now);
	claimed = *rate > limit && page->warned_at + WARNING_INTERVAL <= now;
	if (claimed)
		page->warned_at = now;
	LWLockRelease(lock);
	return claimed;
}

/* ----------------------------------------------------------------
 * Names
 * ----------------------------------------------------------------
 */

const char *
wbc_journal_reason_name(WbcReason reason)
{
#define X(label) #label,
	static const char *const names[WBC_REASONS] = {WBC_EACH_REASON(X)};
#undef X

	return names[reason];
}

const char *
wbc_journal_target_name(WbcTarget target)
{
#define X(symbol, label) label,
	static const char *const names[WBC_TARGETS] = {WBC_EACH_TARGET(X)};
#undef X

	return names[target];
}
