/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements of our own, run as the owner of our tables.
 *
 * Layer 1.  Users have no right to write the extension's tables; functions do
 * so for them, through SPI, as the tables' owner.  Statements name everything
 * with its schema, operators too: the search_path is the user's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "error.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "statement.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

/*
 * A table of the extension, or InvalidOid when it isn't there.
 */
Oid
wbc_statement_table(const char *name)
{
	Oid			schema = get_namespace_oid("wbcache", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * From here to wbc_statement_end() the current role is this owner, and SPI is
 * connected.  If something throws in between, the end of the (sub)transaction
 * gives the caller his identity back.
 */
void
wbc_statement_begin(Oid owner, WbcStatementScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security);
	SetUserIdAndSecContext(owner,
						   scope->security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/*
 * Runs one statement; nulls may be NULL.  Returns how many rows it has written
 * or found; what it found is in SPI_tuptable.  Throws.
 */
uint64
wbc_statement_execute(const char *statement, int nparams, const Oid *types,
					  const Datum *values, const char *nulls)
{
	if (SPI_execute_with_args(statement, nparams, unconstify(Oid *, types),
							  unconstify(Datum *, values), nulls, false, 0) < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", statement);
	return SPI_processed;
}

void
wbc_statement_end(const WbcStatementScope *scope)
{
	SPI_finish();
	SetUserIdAndSecContext(scope->user, scope->security);
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Does some work in a transaction of its own, with SPI connected and a snapshot.
 * What is written is only a cache and its bookkeeping: the commit need not be on
 * disk, nor wait for a standby.  Returns whether it has committed; else *error
 * says why not.  CurrentMemoryContext is TopMemoryContext afterwards.
 */
bool
wbc_statement_transaction(WbcStatementWork work, void *arg, WbcError *error)
{
	volatile bool committed = false;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		set_local("transaction_read_only", "off");
		set_local("transaction_isolation", "read committed");
		set_local("synchronous_commit", "off");
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		PushActiveSnapshot(GetTransactionSnapshot());
		work(arg);
		PopActiveSnapshot();
		SPI_finish();
		CommitTransactionCommand();
		committed = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		wbc_error_catch(error);
		AbortCurrentTransaction();
	}
	PG_END_TRY();

	pgstat_report_stat(true);
	MemoryContextSwitchTo(TopMemoryContext);
	return committed;
}

static List *
plan(const char *statement, CommandTag *tag)
{
	RawStmt    *parsed = linitial_node(RawStmt, pg_parse_query(statement));
	List	   *plans;

	PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(parsed, statement,
															   NULL, 0, NULL),
							statement, CURSOR_OPT_PARALLEL_OK, NULL);
	PopActiveSnapshot();
	*tag = CreateCommandTag(parsed->stmt);
	return plans;
}

/*
 * Runs a statement as a client's would be, through a portal: so a procedure can
 * commit, and VACUUM run at all.  Needs a transaction, and leaves one.  The
 * current context must survive it.
 */
void
wbc_statement_run(const char *statement, DestReceiver *receiver)
{
	QueryCompletion completion;
	CommandTag	tag;
	List	   *plans = plan(statement, &tag);
	Portal		portal = CreatePortal("", true, true);

	portal->visible = false;
	PortalDefineQuery(portal, NULL, statement, tag, plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	wbc_compat_portal_run(portal, receiver, &completion);
	PortalDrop(portal, false);
}
