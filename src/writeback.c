/*-------------------------------------------------------------------------
 *
 * writeback.c
 *	  Brings entries from memory into the table tier, and takes out of it
 *	  what is of no use any more.
 *
 * Layer 4.  Called by the loaders when no flight waits for them, and only by
 * one of a database at a time, so that the table never has two writers.
 *
 * Entries that a transaction of ours holds pinned are let go of in every case:
 * at its end, by its error, or at the end of the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "endpoint.h"
#include "error.h"
#include "executor/spi.h"
#include "journal.h"
#include "memory.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "registry.h"
#include "storage/ipc.h"
#include "table.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
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

/* The batch in hand. */
static WbcFound batch[BATCH];
static int	nbatch = 0;

static uint32 cursor = 0;
static TimestampTz next_write = 0;
static TimestampTz next_purge = 0;

/* Nothing is tried before this, after an error. */
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
 * What is written here is only a cache: its commits need not be on disk.
 */
static void
begin(void)
{
	StartTransactionCommand();
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
}

typedef uint64 (*Work) (void);

/*
 * Does some work in a transaction.  An error costs a log line and a pause.
 * Returns what the work returned.
 */
static uint64
in_transaction(Work work, TimestampTz now)
{
	volatile uint64 done = 0;
	WbcError	error;

	PG_TRY();
	{
		begin();
		if (wbc_table_exists())
			done = work();
		commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		wbc_error_catch(&error);
		AbortCurrentTransaction();
		done = 0;
		next_write = next_purge = not_before = now + RETRY_INTERVAL;
		for (int i = 0; i < nbatch; i++)
			wbc_memory_mark_dirty(batch[i].entry);
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("the table tier of wbcache could not be written: %s",
						error.message),
				 errdetail("It is tried again in 10 s; until then values are in memory only.")));
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	return done;
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

static uint64
write_entries(void)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "wbcache row",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(row_context);

	wbc_endpoint_prepare();
	for (int i = 0; i < nbatch; i++)
	{
		WbcTableNote note;

		MemoryContextReset(row_context);
		if (wbc_entry_is_current(batch[i].entry) &&
			note_of(batch[i].entry, &note))
			wbc_table_write(batch[i].entry, &note);
	}
	MemoryContextSwitchTo(caller);
	return nbatch;
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
	if (nbatch > 0)
		(void) in_transaction(write_entries, now);
	let_go(0, 0);
	if (all_seen)
		next_write = Max(next_write, now + WRITE_INTERVAL);
	return !all_seen && next_write <= now;
}

/* ----------------------------------------------------------------
 * Purging
 * ----------------------------------------------------------------
 */

static uint64
purge_rows(void)
{
	uint64		rows = wbc_table_purge(BATCH);

	wbc_registry_sweep(GetCurrentTimestamp());
	wbc_journal_count_purged(rows);
	return rows;
}

/*
 * Deletes a batch of what is of no use.  Returns whether there is more.
 */
static bool
purge_batch(TimestampTz now)
{
	if (in_transaction(purge_rows, now) >= BATCH)
		return true;
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

/*
 * Does a batch of what is due.  Returns whether it should be called again at
 * once; else sets when.
 */
bool
wbc_writeback_run(TimestampTz now, TimestampTz *next)
{
	bool		more = false;

	*next = Max(not_before, now + WRITE_INTERVAL);
	if (now < not_before || RecoveryInProgress() || !wbc_worker_begin_duty())
		return false;

	prepare();
	if (next_write <= now || wbc_memory_count_dirty() >= WRITE_SOON)
		more = write_batch(now);
	else if (next_purge <= now)
		more = purge_batch(now);
	wbc_worker_end_duty();

	*next = Min(next_write, next_purge);
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
