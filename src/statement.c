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

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "compat.h"
#include "error.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "statement.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/*
 * Whoever may change the settings of a database or a role must not choose the
 * operators of statements that run with other rights than his.
 */
#define SEARCH_PATH		"pg_catalog, pg_temp"

/*
 * Tables that are known to be the extension's.  Forgotten when one of them is
 * changed, since its OID may come to be another's.
 */
static Oid	ours[8];
static int	nours = 0;

static void
forget_table(Datum arg, Oid relation)
{
	for (int i = 0; i < nours; i++)
		if (ours[i] == relation || !OidIsValid(relation))
			nours = 0;
}

/*
 * Is it the extension's?  Who may make the schema where there is no extension may
 * put tables into it, which must not be taken for ours.
 */
static bool
is_ours(Oid table)
{
	static bool registered = false;
	Oid			extension;

	for (int i = 0; i < nours; i++)
		if (ours[i] == table)
			return true;

	if (!registered)
		CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
	registered = true;
	extension = getExtensionOfObject(RelationRelationId, table);
	if (!OidIsValid(extension) || extension != get_extension_oid("wbcache", true))
		return false;
	if (nours < lengthof(ours))
		ours[nours++] = table;
	return true;
}

/*
 * A table, view or materialized view in our schema, the user's or ours, or
 * InvalidOid when it isn't there.
 */
Oid
wbc_statement_relation(const char *name)
{
	Oid			schema = get_namespace_oid("wbcache", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * A table of the extension, or InvalidOid when it isn't there.
 */
Oid
wbc_statement_table(const char *name)
{
	Oid			table = wbc_statement_relation(name);

	return OidIsValid(table) && is_ours(table) ? table : InvalidOid;
}

/* InvalidOid: there is no such relation. */
static Oid
owner_of_relation(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* Whose a table of the extension is.  Throws when it isn't there. */
static Oid
owner_of(const char *table)
{
	Oid			owner = owner_of_relation(wbc_statement_table(table));

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table wbcache.%s does not exist", table),
				 errhint("Run CREATE EXTENSION wbcache.")));
	return owner;
}

static void
begin_as(Oid role, int security, WbcStatementScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security);
	scope->nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(role, scope->security | SECURITY_LOCAL_USERID_CHANGE |
						   security);
	wbc_statement_set("search_path", SEARCH_PATH, GUC_ACTION_SAVE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/*
 * From here to wbc_statement_end() the current role is the owner of this table
 * of ours, and SPI is connected.  Throws when the table isn't there.  If
 * something throws in between, the end of the (sub)transaction gives the caller
 * his identity back.
 */
void
wbc_statement_begin(const char *table, WbcStatementScope *scope)
{
	begin_as(owner_of(table), 0, scope);
}

/*
 * From here to wbc_statement_end() the current role is the owner of a view of the
 * user's, in a security-restricted context: whatever the view evaluates has no
 * other rights than his.  Throws unless the caller may read the view.
 */
void
wbc_statement_begin_reading(Oid view, WbcStatementScope *scope)
{
	AclResult	result = pg_class_aclcheck(view, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_VIEW, get_rel_name(view));
	begin_as(owner_of_relation(view), SECURITY_RESTRICTED_OPERATION, scope);
}

/*
 * From here to wbc_statement_end() the current role is the bootstrap superuser, in
 * a security-restricted context.
 */
void
wbc_statement_begin_superuser(WbcStatementScope *scope)
{
	begin_as(BOOTSTRAP_SUPERUSERID, SECURITY_RESTRICTED_OPERATION, scope);
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
	AtEOXact_GUC(false, scope->nest_level);
	SetUserIdAndSecContext(scope->user, scope->security);
}

/*
 * Gives a setting a value that goes with the transaction (GUC_ACTION_LOCAL), or
 * with the nest level that AtEOXact_GUC() ends (GUC_ACTION_SAVE).
 */
void
wbc_statement_set(const char *name, const char *value, GucAction action)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, action,
							 true, 0, false);
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
		wbc_statement_set("transaction_read_only", "off", GUC_ACTION_LOCAL);
		wbc_statement_set("transaction_isolation", "read committed", GUC_ACTION_LOCAL);
		wbc_statement_set("synchronous_commit", "off", GUC_ACTION_LOCAL);
		wbc_statement_set("search_path", SEARCH_PATH, GUC_ACTION_LOCAL);
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
