/*-------------------------------------------------------------------------
 *
 * writeback.c
 *	  Brings entries from memory into the table tier, and takes out of it
 *	  what is of no use any more.
 *
 * Layer 4.  Called by the loaders when no flight waits for them, or memory would
 * lose what is not written, and only by one of a database at a time, so that the
 * table never has two writers.
 *
 * Entries that a transaction of ours holds pinned are let go of in every case:
 * at its end, by its error, or at the end of the process.
 *
 * No client's lock is waited for.  While the table is locked nothing is done;
 * an entry whose row is locked stays dirty, and is tried again.  The endpoints
 * are read before the table is locked: that may have to wait, for a moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "endpoint.h"
#include "error.h"
#include "journal.h"
#include "memory.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "registry.h"
#include "statement.h"
#include "storage/ipc.h"
#include "table.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "writeback.h"

/* Entries written, and rows purged, in one transaction. */
#define BATCH	512

/* What is dirty is written this often, */
#define WRITE_INTERVAL	(1 * USECS_PER_SEC)

/* or sooner when so many entries are. */
#define WRITE_SOON		BATCH

#define PURGE_INTERVAL	(30 * USECS_PER_SEC)

/* At the end of the process. */
#define FINISH_TIME		(2 * USECS_PER_SEC)

/* After an error. */
#define RETRY_INTERVAL	(10 * USECS_PER_SEC)

/* While another loader writes and has to catch up; in microseconds. */
#define LET_AHEAD		5000L

/*
 * The batch in hand; what of it can change: the hard expiries; and which of it
 * could not be written because of a lock.
 */
static WbcFound batch[BATCH];
static TimestampTz batch_expires_at[BATCH];
static bool batch_locked[BATCH];
static int	nbatch = 0;

/*
 * Of the entries seen since the cursor was at 0, those that were locked; and
 * how many there were in the round before.
 */
static uint64 nlocked = 0;
static uint64 nlocked_before = 0;

/* Rows deleted by the last purge. */
static uint64 purged;

/* The last attempt found the table locked. */
static bool table_is_locked;

static uint32 cursor = 0;
static TimestampTz next_write = 0;
static TimestampTz next_purge = 0;

/* Nothing is tried before this, after an error or while the table is locked. */
static TimestampTz not_before = 0;

static void
let_go(int code, Datum arg)
{
	for (int i = 0; i < nbatch; i++)
		wbc_memory_unpin(batch[i].pointer);
	nbatch = 0;
}

/* ----------------------------------------------------------------
 * Transactions
 * ----------------------------------------------------------------
 */

/*
 * Does some work in a transaction.  An error costs a log line and a pause.
 * Returns whether it has committed.
 */
static bool
in_transaction(WbcStatementWork work, TimestampTz now)
{
	WbcError	error;

	if (wbc_statement_transaction(work, NULL, &error))
		return true;

	next_write = next_purge = not_before = now + RETRY_INTERVAL;
	ereport(LOG,
			(errcode(error.sqlstate),
			 errmsg("the table tier of wbcache could not be written: %s",
					error.message),
			 errdetail("It is tried again in 10 s; until then values are in memory only.")));
	return false;
}

/* ----------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------
 */

/*
 * What psql should see beside the value.  Returns false for an entry whose
 * endpoint is gone.
 */
static bool
note_of(const WbcEntry *entry, WbcTableNote *note)
{
	const WbcEndpoint *endpoint;
	StringInfoData tag;
	WbcRoute	route;
	WbcKey		key;

	memset(note, 0, sizeof(WbcTableNote));
	if (OidIsValid(entry->scope))
		return true;

	wbc_memory_key(entry, &key);
	if (!wbc_endpoint_route(&key, &route))
		return false;
	endpoint = route.endpoint;
	note->endpoint = NameStr(endpoint->name);
	note->ntags = endpoint->ntags;
	note->tags = palloc(Max(endpoint->ntags, 1) * sizeof(char *));
	for (int i = 0; i < endpoint->ntags; i++)
	{
		initStringInfo(&tag);
		wbc_pattern_fill(&endpoint->pattern, &route.parts, endpoint->tags[i],
						 WBC_FILL_PLAIN, &tag);
		note->tags[i] = tag.data;
	}
	return true;
}

static void
write_entries(void *arg)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "wbcache row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;

	if (!wbc_table_exists())
		return;
	wbc_endpoint_prepare();
	if (!wbc_table_lock())
	{
		memset(batch_locked, true, sizeof(batch_locked));
		table_is_locked = true;
		return;
	}
	caller = MemoryContextSwitchTo(row_context);
	for (int i = 0; i < nbatch; i++)
	{
		WbcTableNote note;

		MemoryContextReset(row_context);
		batch_locked[i] = wbc_entry_is_current(batch[i].entry) &&
			note_of(batch[i].entry, &note) &&
			!wbc_table_write(batch[i].entry, &note);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * What was written is clean when that has committed: what is neither in memory
 * nor to be seen in the table would be fetched again.
 */
static void
mark_batch_clean(void)
{
	for (int i = 0; i < nbatch; i++)
		if (batch_locked[i])
			nlocked++;
		else
			wbc_memory_mark_clean(batch[i].entry, batch_expires_at[i]);
}

/*
 * Writes a batch of what is dirty.  Returns whether there is more.
 */
static bool
write_batch(TimestampTz now)
{
	bool		all_seen;

	nbatch = wbc_memory_collect_dirty(MyDatabaseId, &cursor, batch, BATCH);
	all_seen = cursor == 0;
	for (int i = 0; i < nbatch; i++)
		batch_expires_at[i] = wbc_entry_hard_expires_at(batch[i].entry);
	memset(batch_locked, false, sizeof(batch_locked));
	table_is_locked = false;
	if (nbatch > 0 && in_transaction(write_entries, now))
		mark_batch_clean();
	let_go(0, 0);
	if (table_is_locked)
		not_before = next_write = now + WRITE_INTERVAL;
	if (all_seen)
	{
		next_write = Max(next_write, now + WRITE_INTERVAL);
		nlocked_before = nlocked;
		nlocked = 0;
	}
	return !all_seen && next_write <= now;
}

/* Is there so much to write that it should be done now? */
static bool
should_write(TimestampTz now)
{
	return next_write <= now ||
		wbc_memory_count_dirty() >= WRITE_SOON + nlocked_before ||
		(nlocked_before == 0 && wbc_memory_dirt_is_urgent());
}

/* ----------------------------------------------------------------
 * Purging
 * ----------------------------------------------------------------
 */

static void
purge_rows(void *arg)
{
	purged = wbc_table_lock() ? wbc_table_purge(BATCH) : 0;
}

/*
 * Deletes a batch of what is of no use.  Returns whether there is more.
 */
static bool
purge_batch(TimestampTz now)
{
	purged = 0;
	if (in_transaction(purge_rows, now))
		wbc_journal_count_purged(purged);
	if (purged >= BATCH)
		return true;
	wbc_registry_sweep(now);
	next_purge = Max(next_purge, now + PURGE_INTERVAL);
	return false;
}

static void
prepare(void)
{
	static bool prepared = false;

	if (!prepared)
		before_shmem_exit(let_go, 0);
	prepared = true;
}

/* If the clock was set back, what is due later than it can be is due now. */
static void
bear_clock(TimestampTz now)
{
	if (not_before > now + RETRY_INTERVAL || next_write > now + RETRY_INTERVAL ||
		next_purge > now + PURGE_INTERVAL)
		not_before = next_write = next_purge = now;
}

/*
 * Does a batch of what is due.  Returns whether it should be called again at
 * once; else sets when.
 */
bool
wbc_writeback_run(TimestampTz now, TimestampTz *next)
{
	bool		more = false;

	bear_clock(now);
	*next = Max(not_before, now + WRITE_INTERVAL);
	if (now < not_before || RecoveryInProgress() || !wbc_worker_begin_duty())
		return false;

	prepare();
	if (should_write(now))
		more = write_batch(now);
	else if (next_purge <= now)
		more = purge_batch(now);
	wbc_worker_end_duty();

	*next = Max(not_before, Min(next_write, next_purge));
	return more;
}

/*
 * The loader ends: writes what there is to be written, within a moment.
 */
void
wbc_writeback_finish(TimestampTz now)
{
	TimestampTz until = now + FINISH_TIME;
	bool		more = true;

	if (RecoveryInProgress() || !wbc_worker_begin_duty())
		return;

	prepare();
	cursor = 0;
	next_write = 0;
	while (more && now < until)
	{
		more = write_batch(now);
		now = GetCurrentTimestamp();
	}
	wbc_worker_end_duty();
}

/*
 * Called before each flight: while values come faster than they are written,
 * and memory would lose them, writes a batch, or lets the loader that does so
 * get ahead.  Takes no longer than that.
 */
void
wbc_writeback_keep_up(void)
{
	TimestampTz now;
	TimestampTz next;

	if (likely(!wbc_memory_dirt_is_urgent()) || RecoveryInProgress())
		return;

	now = GetCurrentTimestamp();
	if (!wbc_writeback_run(now, &next) && not_before <= now &&
		wbc_memory_dirt_is_urgent())
		pg_usleep(LET_AHEAD);
}

/*
 * Vacuums the table.  An error costs a log line.
 */
void
wbc_writeback_vacuum(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "wbcache vacuum",
												  ALLOCSET_DEFAULT_SIZES);
	WbcError	error;

	PG_TRY();
	{
		StartTransactionCommand();
		MemoryContextSwitchTo(context);
		wbc_table_vacuum();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		wbc_error_catch(&error);
		AbortCurrentTransaction();
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("the table tier of wbcache could not be vacuumed: %s",
						error.message)));
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);
	pgstat_report_stat(true);
}
