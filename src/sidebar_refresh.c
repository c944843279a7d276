/*-------------------------------------------------------------------------
 *
 * sidebar_refresh.c
 *	  SQL: refresh_sidebar_data.
 *
 * Layer 4.  Called by the task "sidebar_refresh", and by whoever owns
 * wbcache.sidebar_data.
 *
 *		1	take the lock, or leave it to whoever has it
 *		2	nothing has changed, and no start that is shown is over: done
 *		3	read the stripes
 *		4	REFRESH MATERIALIZED VIEW CONCURRENTLY, in a subtransaction, whose
 *			snapshot is younger than that
 *		5	write wbcache.sidebar_refresh_log, the stripes included
 *		6	list the sidebar's values as invalid
 *
 * A refresh that fails has a row in the log, too; so it must not throw, unless
 * it was cancelled.  The lock is an advisory lock of the transaction, in a
 * class of its own: the next refresh sees the stripes of the one before.
 *
 * CONCURRENTLY keeps out nobody but other refreshes.  It needs temporary tables,
 * so it can't be done by an SQL loader, in its security-restricted context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "error.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "guc.h"
#include "invalidate.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "shmem.h"
#include "sidebar_parts.h"
#include "statement.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Class of our advisory lock; task.c has 3 and 4. */
#define LOCK_OF_REFRESH	5

/* Longest wait for a lock on the events, unless lock_timeout says otherwise. */
#define LOCK_TIMEOUT	"5s"

/* Rows of the log that are kept. */
#define LOG_ROWS		"1000"

PG_FUNCTION_INFO_V1(wbcache_refresh_sidebar_data);

/* One refresh. */
typedef struct Refresh
{
	TimestampTz started;
	int64		duration;		/* microseconds */
	WbcStamp	stamp;
	bool		failed;
	WbcError	error;
	int64		rows;
	int64		games;
	bool		alert;
} Refresh;

/* ----------------------------------------------------------------
 * Whether to do it
 * ----------------------------------------------------------------
 */

static void
check_view(WbcSidebarState state)
{
	if (state == WBC_SIDEBAR_MISSING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("materialized view wbcache.sidebar_data does not exist"),
				 errhint("Call wbcache.bind_events() with the table of events.")));
	if (!wbc_compat_owns_relation(wbc_statement_relation("sidebar_data"), GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, "sidebar_data");
}

static bool
try_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_OF_REFRESH);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static int64
number(int column)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, column, &null);

	return null ? 0 : DatumGetInt64(value);
}

static void
execute(const char *statement)
{
	if (SPI_execute(statement, false, 0) < 0)
		elog(ERROR, "could not run: %s", statement);
}

/* SPI is connected. */
static bool
is_needed(void)
{
	if (wbc_sidebar_state() != WBC_SIDEBAR_CURRENT)
		return true;
	execute("SELECT count(*) FROM wbcache.sidebar_data WHERE next_start <= now()");
	return number(1) > 0;
}

/* ----------------------------------------------------------------
 * Doing it
 * ----------------------------------------------------------------
 */

/* SPI is connected. */
static void
refresh(Refresh *refresh)
{
	if (wbc_sidebar_state() == WBC_SIDEBAR_NOT_POPULATED)
		execute("REFRESH MATERIALIZED VIEW wbcache.sidebar_data");
	else
		execute("REFRESH MATERIALIZED VIEW CONCURRENTLY wbcache.sidebar_data");
	execute("SELECT count(*), coalesce(sum(games), 0)::bigint FROM wbcache.sidebar_data");
	refresh->rows = number(1);
	refresh->games = number(2);
}

/*
 * In a subtransaction.  Throws only when it was cancelled.
 */
static void
try_refresh(Refresh *run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		refresh(run);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		wbc_error_catch(&run->error);
		run->failed = true;
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (run->failed && run->error.sqlstate == ERRCODE_QUERY_CANCELED)
		wbc_error_throw(&run->error);
}

static Datum
generations_datum(const Refresh *run)
{
	Datum		elements[2];

	for (int i = 0; i < 2; i++)
		elements[i] = Int64GetDatum((int64) run->stamp.seen[i]);
	return PointerGetDatum(construct_array(elements, 2, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static const char *
caller(void)
{
	return MyBgworkerEntry != NULL &&
		strcmp(MyBgworkerEntry->bgw_type, "wbcache task") == 0 ? "task" : "call";
}

/*
 * Adds a row to the log and trims it.  The last success is kept in any case: its
 * stamp says what sidebar_data has.
 */
static void
write_log(const Refresh *run)
{
	static const Oid types[9] = {
		TIMESTAMPTZOID, INTERVALOID, INT8OID, INT8OID, TEXTOID, TEXTOID, BOOLOID,
		INT8OID, INT8ARRAYOID
	};
	char		nulls[9] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
	Interval	duration = {.time = run->duration};
	Datum		values[9];
	WbcStatementScope scope;

	values[0] = TimestampTzGetDatum(run->started);
	values[1] = IntervalPGetDatum(&duration);
	values[2] = Int64GetDatum(run->rows);
	values[3] = Int64GetDatum(run->games);
	values[4] = CStringGetTextDatum(caller());
	values[5] = CStringGetTextDatum(run->failed ? run->error.message : "");
	values[6] = BoolGetDatum(run->alert);
	values[7] = Int64GetDatum((int64) wbc_generation_epoch(MyDatabaseId));
	values[8] = generations_datum(run);
	if (run->failed)
		nulls[2] = nulls[3] = 'n';
	else
		nulls[5] = 'n';
	/* A snapshot of the whole transaction is older than the stripes' reading. */
	if (run->failed || IsolationUsesXactSnapshot())
		nulls[7] = nulls[8] = 'n';

	wbc_statement_begin("sidebar_refresh_log", &scope);
	(void) wbc_statement_execute("INSERT INTO wbcache.sidebar_refresh_log"
								 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
								 9, types, values, nulls);
	(void) wbc_statement_execute("DELETE FROM wbcache.sidebar_refresh_log WHERE started <"
								 " (SELECT min(started) FROM (SELECT started FROM wbcache.sidebar_refresh_log"
								 " ORDER BY started DESC LIMIT " LOG_ROWS ") kept)"
								 " AND started IS DISTINCT FROM (SELECT max(started)"
								 " FROM wbcache.sidebar_refresh_log WHERE error IS NULL)",
								 0, NULL, NULL, NULL);
	wbc_statement_end(&scope);
}

static char *
do_refresh(void)
{
	Refresh		run = {.started = GetCurrentTimestamp()};

	wbc_sidebar_stamp_begin(&run.stamp);
	wbc_generation_stamp_take(&run.stamp);
	try_refresh(&run);
	run.duration = GetCurrentTimestamp() - run.started;
	run.alert = run.duration / 1000 > wbc_guc_sidebar_alert_time;
	write_log(&run);

	if (run.alert)
		ereport(WARNING,
				(errmsg("refresh of wbcache.sidebar_data took %.1f s",
						run.duration / 1e6),
				 errdetail("wbcache.sidebar_alert_time is %d ms.",
						   wbc_guc_sidebar_alert_time)));
	if (run.failed)
	{
		ereport(WARNING,
				(errmsg("refresh of wbcache.sidebar_data failed: %s",
						run.error.message)));
		return psprintf("failed: %s", run.error.message);
	}
	wbc_invalidate_sidebar(NULL, NULL, WBC_REASON_SIDEBAR_REFRESH);
	return psprintf("refreshed: " INT64_FORMAT " rows, " INT64_FORMAT " games",
					run.rows, run.games);
}

Datum
wbcache_refresh_sidebar_data(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *result;
	int			nest_level;

	wbc_shmem_require();
	PreventCommandIfReadOnly("wbcache.refresh_sidebar_data()");
	check_view(wbc_sidebar_state());
	if (!try_lock())
		PG_RETURN_TEXT_P(cstring_to_text("none: another refresh is under way"));

	nest_level = NewGUCNestLevel();
	wbc_statement_set("search_path", "pg_catalog, pg_temp", GUC_ACTION_SAVE);
	if (LockTimeout == 0)
		wbc_statement_set("lock_timeout", LOCK_TIMEOUT, GUC_ACTION_SAVE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = is_needed() ? do_refresh() : pstrdup("none: nothing has changed");
	result = MemoryContextStrdup(context, result);
	SPI_finish();
	AtEOXact_GUC(false, nest_level);
	PG_RETURN_TEXT_P(cstring_to_text(result));
}
