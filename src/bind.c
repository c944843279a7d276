/*-------------------------------------------------------------------------
 *
 * bind.c
 *	  SQL: bind_events, watch_odds and their opposites.
 *
 * Layer 4.  Makes the triggers of watch.c on a user's table, and the view
 * wbcache.events over a table of events, with the sidebar's on top of it
 * (wbcache.make_sidebar(), in SQL).  These are the user's: pg_dump carries
 * them, and DROP EXTENSION says that they depend on it.
 *
 * Only the table's owner may call, but what is made takes more rights than an
 * owner has: to use our trigger functions, with which anybody else's games
 * could be invalidated, and to put the view into our schema.  So once all is
 * checked, the statements run as the bootstrap superuser.  They are made of
 * quoted names only, run with a fixed search_path in a security-restricted
 * context, and evaluate nothing of the user's.  What the sidebar shows at first
 * is evaluated by REFRESH, as the table's owner.
 *
 * While a table is bound, its owner may execute the trigger function: PostgreSQL
 * asks for that when it copies a trigger to a new partition.  So he may put it on
 * other tables of his, where TRUNCATE invalidates everything, and rows any game.
 * With the one that is bound he can do the same.
 *
 * Each function first locks the owner's table and checks it (bindable.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "bindable.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "statement.h"
#include "utils/builtins.h"
#include "watched.h"

PG_FUNCTION_INFO_V1(wbcache_bind_events);
PG_FUNCTION_INFO_V1(wbcache_unbind_events);
PG_FUNCTION_INFO_V1(wbcache_watch_odds);
PG_FUNCTION_INFO_V1(wbcache_unwatch_odds);

/* The triggers and the function that they call. */
typedef struct Kind
{
	const char *trigger;		/* prefix of their names */
	const char *function;
	const char *bind;			/* the functions here */
	const char *unbind;
} Kind;

static const Kind events = {"wbcache_events", "events_changed", "bind_events", "unbind_events"};
static const Kind odds = {"wbcache_odds", "odds_changed", "watch_odds", "unwatch_odds"};

/* ----------------------------------------------------------------
 * Arguments
 * ----------------------------------------------------------------
 */

static void
require(FunctionCallInfo fcinfo, int n, const char *argument)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s is NULL", argument),
				 errhint("Give it a value.")));
}

static void
open_argument(FunctionCallInfo fcinfo, WbcBindable *table)
{
	require(fcinfo, 0, "relation");
	wbc_bindable_open(PG_GETARG_OID(0), table);
}

/*
 * The column, quoted, that the n'th argument names.  type: set to its type.
 */
static char *
column_argument(FunctionCallInfo fcinfo, int n, const char *argument,
				const WbcBindable *table, const WbcBindableRule *rule, Oid *type)
{
	require(fcinfo, n, argument);
	return wbc_bindable_column(table, argument, NameStr(*PG_GETARG_NAME(n)),
							   rule, type);
}

/* ----------------------------------------------------------------
 * Statements
 * ----------------------------------------------------------------
 */

static void
run(const char *format,...) pg_attribute_printf(1, 2);

static void
run(const char *format,...)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&sql, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}
	if (SPI_execute(sql.data, false, 0) < 0)
		elog(ERROR, "could not run: %s", sql.data);
	pfree(sql.data);
}

/* The first column of the only row, or NULL without a row. */
static char *
ask(const char *sql)
{
	if (SPI_execute(sql, true, 1) < 0)
		elog(ERROR, "could not run: %s", sql);
	return SPI_processed == 0 ? NULL :
		SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/*
 * A table that is bound, other than a partition of one that is: this one, or
 * any other.  Its name, or NULL.
 */
static char *
bound_table(const Kind *kind, const WbcBindable *table, bool other)
{
	return ask(psprintf("SELECT tgrelid::regclass FROM pg_trigger"
						" WHERE tgfoid = 'wbcache.%s()'::regprocedure"
						" AND tgparentid = 0 AND tgrelid %s %u LIMIT 1",
						kind->function, other ? "<>" : "=", table->oid));
}

/* Whatever they are called by now. */
static void
drop_triggers(const Kind *kind, const WbcBindable *table)
{
	char	   *drops =
		ask(psprintf("SELECT string_agg(format('DROP TRIGGER %%I ON %%s',"
					 " tgname, tgrelid::regclass), '; ') FROM pg_trigger"
					 " WHERE tgfoid = 'wbcache.%s()'::regprocedure"
					 " AND tgparentid = 0 AND tgrelid = %u",
					 kind->function, table->oid));

	if (drops != NULL)
		run("%s", drops);
}

/* Lets the owner add partitions. */
static void
grant_function(const Kind *kind, const WbcBindable *table)
{
	if (!superuser_arg(table->owner))
		run("GRANT EXECUTE ON FUNCTION wbcache.%s() TO %s", kind->function,
			quote_identifier(GetUserNameFromId(table->owner, false)));
}

/* Unless he has bound another table. */
static void
revoke_function(const Kind *kind, const WbcBindable *table)
{
	if (ask(psprintf("SELECT 1 FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
					 " WHERE t.tgfoid = 'wbcache.%s()'::regprocedure"
					 " AND t.tgparentid = 0 AND t.tgrelid <> %u"
					 " AND c.relowner = %u LIMIT 1",
					 kind->function, table->oid, table->owner)) == NULL)
		run("REVOKE EXECUTE ON FUNCTION wbcache.%s() FROM %s", kind->function,
			quote_identifier(GetUserNameFromId(table->owner, false)));
}

static void
create_trigger(const Kind *kind, const WbcBindable *table, const char *suffix,
			   const char *when, const char *arguments)
{
	run("CREATE TRIGGER %s%s AFTER %s EXECUTE FUNCTION wbcache.%s(%s)",
		kind->trigger, suffix, when, kind->function, arguments);
	run("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s%s", table->name,
		kind->trigger, suffix);
	run("COMMENT ON TRIGGER %s%s ON %s IS 'made by wbcache.%s()'",
		kind->trigger, suffix, table->name, kind->bind);
}

/*
 * Replaces the table's triggers.  What they must look like is said in
 * watched.c.
 */
static void
create_triggers(const Kind *kind, const WbcBindable *table, int n,
				char **columns, const char *arguments)
{
	StringInfoData condition;

	initStringInfo(&condition);
	for (int i = 0; i < n; i++)
		appendStringInfo(&condition, "%sold.%s, new.%s", i > 0 ? ", " : "",
						 columns[i], columns[i]);
	if (bound_table(kind, table, false) != NULL)
		ereport(NOTICE,
				(errmsg("table %s was bound already; its triggers are replaced",
						table->name)));
	drop_triggers(kind, table);
	create_trigger(kind, table, "",
				   psprintf("INSERT OR DELETE ON %s FOR EACH ROW", table->name),
				   arguments);
	create_trigger(kind, table, "_update",
				   psprintf("UPDATE ON %s FOR EACH ROW WHEN (wbcache.differ(%s))",
							table->name, condition.data),
				   arguments);
	create_trigger(kind, table, "_truncate",
				   psprintf("TRUNCATE ON %s", table->name), arguments);
	grant_function(kind, table);
}

static void
check_bound(const Kind *kind, const WbcBindable *table)
{
	if (bound_table(kind, table, false) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table %s is not bound", table->name),
				 errhint("Call wbcache.%s() with a table that wbcache.%s() was called with.",
						 kind->unbind, kind->bind)));
}

/* ----------------------------------------------------------------
 * Events
 * ----------------------------------------------------------------
 */

/* The columns that were given, and how the view shows each. */
typedef struct EventColumns
{
	int			n;
	char	   *name[WBC_EVENT_COLUMNS];	/* quoted, of those given */
	char	   *shown[WBC_EVENT_COLUMNS];
	StringInfoData arguments;	/* of the triggers */
} EventColumns;

/* Columns are arguments 1 to 9. */
static void
read_event_columns(FunctionCallInfo fcinfo, const WbcBindable *table,
				   EventColumns *columns)
{
	columns->n = 0;
	initStringInfo(&columns->arguments);
	for (int i = 0; i < WBC_EVENT_COLUMNS; i++)
	{
		const char *argument = wbc_watched_event_names[i];
		char	   *name;
		Oid			type;

		columns->shown[i] = NULL;
		if (i >= WBC_EVENT_REQUIRED && PG_ARGISNULL(i + 1))
			continue;
		name = column_argument(fcinfo, i + 1, argument, table,
							   i == WBC_EVENT_STARTS_AT ? &wbc_bindable_moment :
							   &wbc_bindable_label, &type);
		appendStringInfo(&columns->arguments, "%s'%s'",
						 columns->n > 0 ? ", " : "", argument);
		columns->name[columns->n++] = name;
		if (i == WBC_EVENT_STATUS)
			columns->shown[i] = psprintf("wbcache.classify_game_status(%s::text)", name);
		else if (i != WBC_EVENT_STARTS_AT)
			columns->shown[i] = psprintf("%s::text", name);
		else if (type == TIMESTAMPOID)
			columns->shown[i] = psprintf("%s AT TIME ZONE 'UTC'", name);
		else
			columns->shown[i] = psprintf("%s::timestamptz", name);
	}
}

/*
 * A sport or league without a name is shown by its id, teams without a name by
 * NULL.
 */
static const char *
shown(const EventColumns *columns, WbcEventColumn column)
{
	if (columns->shown[column] != NULL)
		return columns->shown[column];
	switch (column)
	{
		case WBC_EVENT_SPORT_NAME:
			return columns->shown[WBC_EVENT_SPORT_ID];
		case WBC_EVENT_LEAGUE_NAME:
			return columns->shown[WBC_EVENT_LEAGUE_ID];
		default:
			return "NULL::text";
	}
}

static void
create_view(const WbcBindable *table, const EventColumns *columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < WBC_EVENT_COLUMNS; i++)
		appendStringInfo(&list, "%s%s AS %s", i > 0 ? ", " : "",
						 shown(columns, i), wbc_watched_event_names[i]);
	run("CREATE OR REPLACE VIEW wbcache.events AS SELECT %s FROM %s",
		list.data, table->name);
	run("ALTER VIEW wbcache.events OWNER TO %s",
		quote_identifier(GetUserNameFromId(table->owner, false)));
	run("COMMENT ON VIEW wbcache.events IS"
		" 'games of the table given to wbcache.bind_events(), a row each, with columns of fixed names and types; status in the words of wbcache.classify_game_status()'");
}

/*
 * bind_events(relation, game_id, sport_id, league_id, status, starts_at,
 * sport_name, league_name, home, away).  Not strict: the last four may be NULL.
 */
Datum
wbcache_bind_events(PG_FUNCTION_ARGS)
{
	WbcBindable table;
	EventColumns columns;
	WbcStatementScope scope;
	char	   *other;

	open_argument(fcinfo, &table);
	read_event_columns(fcinfo, &table, &columns);

	wbc_statement_begin_superuser(&scope);
	other = bound_table(&events, &table, true);
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("another table of events is bound already: %s", other),
				 errdetail("There is one in a database."),
				 errhint("Call wbcache.unbind_events(%s) first.",
						 quote_literal_cstr(other))));
	create_triggers(&events, &table, columns.n, columns.name,
					columns.arguments.data);
	create_view(&table, &columns);
	run("SELECT wbcache.make_sidebar(%u)", table.owner);
	wbc_statement_end(&scope);
	PG_RETURN_VOID();
}

Datum
wbcache_unbind_events(PG_FUNCTION_ARGS)
{
	WbcBindable table;
	WbcStatementScope scope;

	open_argument(fcinfo, &table);
	wbc_statement_begin_superuser(&scope);
	check_bound(&events, &table);
	run("SELECT wbcache.drop_sidebar()");
	run("DROP VIEW IF EXISTS wbcache.events");
	drop_triggers(&events, &table);
	revoke_function(&events, &table);
	wbc_statement_end(&scope);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * Odds
 * ----------------------------------------------------------------
 */

/* The triggers' arguments: arguments 3 and 4 of watch_odds(). */
static char *
odds_arguments(FunctionCallInfo fcinfo)
{
	char	   *measure;
	WbcOddsMeasure ignored;
	double		threshold = PG_ARGISNULL(3) ? 0 : PG_GETARG_FLOAT8(3);

	if (!(threshold >= 0 && threshold <= 1e9))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("threshold is out of range"),
				 errhint("Give a number of percent from 0 on, or NULL for the setting wbcache.odds_threshold.")));
	require(fcinfo, 4, "by");
	measure = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (!wbc_odds_measure_of(measure, &ignored))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a way to compare odds", measure),
				 errhint("Compare by 'price' or by 'probability'.")));
	if (PG_ARGISNULL(3))
		return psprintf("'', '%s'", measure);
	return psprintf("'%.17g', '%s'", threshold, measure);
}

/*
 * watch_odds(relation, game_id, price, threshold, by).  Not strict: threshold
 * may be NULL.
 */
Datum
wbcache_watch_odds(PG_FUNCTION_ARGS)
{
	WbcBindable table;
	char	   *columns[WBC_ODDS_COLUMNS];
	char	   *arguments = odds_arguments(fcinfo);
	WbcStatementScope scope;
	Oid			type;

	open_argument(fcinfo, &table);
	columns[WBC_ODDS_GAME_ID] =
		column_argument(fcinfo, 1, "game_id", &table, &wbc_bindable_label, &type);
	columns[WBC_ODDS_VALUE] =
		column_argument(fcinfo, 2, "price", &table, &wbc_bindable_price, &type);

	wbc_statement_begin_superuser(&scope);
	create_triggers(&odds, &table, WBC_ODDS_COLUMNS, columns, arguments);
	wbc_statement_end(&scope);
	PG_RETURN_VOID();
}

Datum
wbcache_unwatch_odds(PG_FUNCTION_ARGS)
{
	WbcBindable table;
	WbcStatementScope scope;

	open_argument(fcinfo, &table);
	wbc_statement_begin_superuser(&scope);
	check_bound(&odds, &table);
	drop_triggers(&odds, &table);
	revoke_function(&odds, &table);
	wbc_statement_end(&scope);
	PG_RETURN_VOID();
}
