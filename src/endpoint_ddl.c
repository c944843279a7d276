/*-------------------------------------------------------------------------
 *
 * endpoint_ddl.c
 *	  The SQL functions that write endpoints: create_endpoint, alter_endpoint
 *	  and drop_endpoint.
 *
 * Layer 4.  They see to privileges and defaults.  What must hold whoever
 * writes the table is left to its triggers; see endpoint_trigger.c.  Callers
 * have no right to the table: the functions write through SPI as its owner.
 *
 * They take the lock on the set of endpoints before they look at it, so what
 * they have read stays true until they write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "call.h"
#include "endpoint_row.h"
#include "endpoint_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server.h"
#include "statement.h"
#include "ttl.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(wbcache_create_endpoint);
PG_FUNCTION_INFO_V1(wbcache_alter_endpoint);
PG_FUNCTION_INFO_V1(wbcache_drop_endpoint);

/* ----------------------------------------------------------------
 * Looking at the table
 * ----------------------------------------------------------------
 */

static Relation
open_for_writing(void)
{
	Oid			oid = wbc_endpoint_row_table();
	Relation	table;

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table wbcache.endpoint does not exist"),
				 errhint("Run CREATE EXTENSION wbcache.")));
	table = table_open(oid, RowExclusiveLock);
	wbc_endpoint_row_check_layout(table);
	wbc_endpoint_trigger_lock(table);
	return table;
}

/*
 * Reads the endpoint of this name.  The row is a copy in the current memory
 * context.
 */
static bool
find_row(Relation table, const char *name, WbcEndpointRow *row)
{
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false,
										  SnapshotSelf, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		wbc_endpoint_row_deform(table, tuple, row);
		found = strcmp(wbc_endpoint_row_name(row), name) == 0;
		if (found)
			wbc_endpoint_row_deform(table, heap_copytuple(tuple), row);
	}
	systable_endscan(scan);
	return found;
}

/*
 * Reads the endpoint that the caller wants to change, and makes sure that it
 * is his.  Returns false when there is none of this name.
 */
static bool
find_own_row(Relation table, const char *name, WbcEndpointRow *row)
{
	if (!find_row(table, name, row))
		return false;
	if (!has_privs_of_role(GetUserId(),
						   DatumGetObjectId(row->value[WBC_ENDPOINT_OWNER])))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of endpoint \"%s\"", name),
				 errhint("Ask its owner, or a superuser, to do it.")));
	return true;
}

/* ----------------------------------------------------------------
 * Arguments of the functions
 * ----------------------------------------------------------------
 */

/* Names that were passed as text are cut to NAMEDATALEN by the core. */
static char *
name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(WBC_ENDPOINT_NAME))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be NULL"),
				 errhint("Give a value for name.")));
	return NameStr(*PG_GETARG_NAME(WBC_ENDPOINT_NAME));
}

/*
 * Puts the arguments that were given in place of what the row has.  An empty
 * server, path or loader stands for none; without a server there is no path.
 */
static void
take_arguments(FunctionCallInfo fcinfo, WbcEndpointRow *row)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (!PG_ARGISNULL(i))
		{
			row->value[i] = PG_GETARG_DATUM(i);
			row->null[i] = false;
		}

	if (!PG_ARGISNULL(WBC_ENDPOINT_LOADER))
	{
		char	   *loader = text_to_cstring(PG_GETARG_TEXT_PP(WBC_ENDPOINT_LOADER));

		row->null[WBC_ENDPOINT_LOADER] = loader[0] == '\0';
		if (loader[0] != '\0')
			row->value[WBC_ENDPOINT_LOADER] =
				CStringGetTextDatum(wbc_call_qualify(loader));
	}
	if (!PG_ARGISNULL(WBC_ENDPOINT_PATH) &&
		VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(WBC_ENDPOINT_PATH)) == 0)
		row->null[WBC_ENDPOINT_PATH] = true;
	if (!PG_ARGISNULL(WBC_ENDPOINT_SERVER) &&
		NameStr(*PG_GETARG_NAME(WBC_ENDPOINT_SERVER))[0] == '\0')
	{
		row->null[WBC_ENDPOINT_SERVER] = true;
		if (PG_ARGISNULL(WBC_ENDPOINT_PATH))
			row->null[WBC_ENDPOINT_PATH] = true;
	}
}

static void
set_default(WbcEndpointRow *row, WbcEndpointColumn column, Datum value)
{
	if (!row->null[column])
		return;
	row->value[column] = value;
	row->null[column] = false;
}

static void
set_defaults(WbcEndpointRow *row)
{
	set_default(row, WBC_ENDPOINT_SOFT_TTL, wbc_ttl_as_interval(USECS_PER_MINUTE));
	set_default(row, WBC_ENDPOINT_HARD_TTL,
				DirectFunctionCall2(interval_mul,
									row->value[WBC_ENDPOINT_SOFT_TTL],
									Float8GetDatum(2.0)));
	set_default(row, WBC_ENDPOINT_MAX_STALE,
				DirectFunctionCall2(interval_larger,
									row->value[WBC_ENDPOINT_HARD_TTL],
									wbc_ttl_as_interval(24 * USECS_PER_HOUR)));
	set_default(row, WBC_ENDPOINT_ERROR_TTL, wbc_ttl_as_interval(USECS_PER_SEC));
	set_default(row, WBC_ENDPOINT_TAGS,
				PointerGetDatum(construct_empty_array(TEXTOID)));
	set_default(row, WBC_ENDPOINT_ON_INVALIDATE, CStringGetTextDatum("remove"));
	set_default(row, WBC_ENDPOINT_READERS,
				PointerGetDatum(construct_empty_array(REGROLEOID)));
	set_default(row, WBC_ENDPOINT_WRITERS,
				PointerGetDatum(construct_empty_array(REGROLEOID)));
	set_default(row, WBC_ENDPOINT_NULL_IS_VALUE, BoolGetDatum(false));
	set_default(row, WBC_ENDPOINT_STATEMENT_TIMEOUT,
				wbc_ttl_as_interval(30 * USECS_PER_SEC));
	set_default(row, WBC_ENDPOINT_LOCK_TIMEOUT,
				wbc_ttl_as_interval(5 * USECS_PER_SEC));
}

/* ----------------------------------------------------------------
 * Privileges of the functions
 * ----------------------------------------------------------------
 */

static void
check_roles_exist(const Oid *roles, int n)
{
	for (int i = 0; i < n; i++)
		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(roles[i])))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role with OID %u does not exist", roles[i]),
					 errhint("Give the names of roles, such as '{web}'.")));
}

/*
 * Roles that were given must exist; those that were there before may have
 * been dropped.  A new owner must be a role that the caller is a member of.
 * Whoever owns the endpoint needs USAGE of its server, or EXECUTE of its loader.
 */
static void
check_privileges(FunctionCallInfo fcinfo, const WbcEndpoint *endpoint)
{
	bool		new_owner = PG_NARGS() > WBC_ENDPOINT_OWNER &&
		!PG_ARGISNULL(WBC_ENDPOINT_OWNER);

	if (!PG_ARGISNULL(WBC_ENDPOINT_READERS))
		check_roles_exist(endpoint->readers, endpoint->nreaders);
	if (!PG_ARGISNULL(WBC_ENDPOINT_WRITERS))
		check_roles_exist(endpoint->writers, endpoint->nwriters);
	if (new_owner)
	{
		check_roles_exist(&endpoint->owner, 1);
		if (!is_member_of_role(GetUserId(), endpoint->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be member of role \"%s\"",
							GetUserNameFromId(endpoint->owner, false)),
					 errhint("Give the endpoint to a role that you are a member of.")));
	}

	if (endpoint->path != NULL &&
		(new_owner || !PG_ARGISNULL(WBC_ENDPOINT_SERVER) ||
		 !PG_ARGISNULL(WBC_ENDPOINT_PATH)))
		wbc_server_check_usage(NameStr(endpoint->server), endpoint->owner);
	if (endpoint->loader != NULL &&
		(new_owner || !PG_ARGISNULL(WBC_ENDPOINT_LOADER)))
		wbc_call_check_right(wbc_call_find(endpoint->loader), endpoint->owner);
}

/* ----------------------------------------------------------------
 * The functions
 * ----------------------------------------------------------------
 */

#define INSERT_ENDPOINT \
	"INSERT INTO wbcache.endpoint" \
	" (name, pattern, server, path, soft_ttl, hard_ttl, max_stale, error_ttl," \
	" tags, on_invalidate, readers, writers, loader, null_is_value," \
	" statement_timeout, lock_timeout, owner)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14," \
	" $15, $16, $17)"

#define UPDATE_ENDPOINT \
	"UPDATE wbcache.endpoint SET pattern = $2, server = $3, path = $4," \
	" soft_ttl = $5, hard_ttl = $6, max_stale = $7, error_ttl = $8, tags = $9," \
	" on_invalidate = $10, readers = $11, writers = $12, loader = $13," \
	" null_is_value = $14, statement_timeout = $15, lock_timeout = $16," \
	" owner = $17" \
	" WHERE name OPERATOR(pg_catalog.=) $1"

#define DELETE_ENDPOINT \
	"DELETE FROM wbcache.endpoint WHERE name OPERATOR(pg_catalog.=) $1"

/*
 * Runs one of the statements above.
 */
static void
write_row(Relation table, const char *statement, int nparams,
		  WbcEndpointRow *row)
{
	Oid			types[WBC_ENDPOINT_COLUMNS];
	char		nulls[WBC_ENDPOINT_COLUMNS];
	WbcStatementScope scope;
	uint64		written;

	for (int i = 0; i < nparams; i++)
	{
		types[i] = wbc_endpoint_row_type(i);
		nulls[i] = row->null[i] ? 'n' : ' ';
	}

	wbc_statement_begin("endpoint", &scope);
	written = wbc_statement_execute(statement, nparams, types, row->value,
									nulls);
	wbc_statement_end(&scope);

	if (written != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("endpoint \"%s\" was changed by a concurrent transaction",
						wbc_endpoint_row_name(row)),
				 errhint("Run the transaction again.")));
}

/*
 * Checks a row as the trigger will do again, so that its errors come without
 * the context of our own statement, and then writes it.
 */
static void
check_and_write(FunctionCallInfo fcinfo, Relation table, const char *statement,
				WbcEndpointRow *row)
{
	WbcEndpoint endpoint;

	wbc_endpoint_row_compile(row, &endpoint);
	check_privileges(fcinfo, &endpoint);
	wbc_endpoint_trigger_check_equal_right(table, &endpoint, NULL);
	write_row(table, statement, WBC_ENDPOINT_COLUMNS, row);
}

Datum
wbcache_create_endpoint(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo);
	Relation	table;
	WbcEndpointRow row;

	PreventCommandIfReadOnly("wbcache.create_endpoint()");
	table = open_for_writing();
	if (find_row(table, name, &row))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("endpoint \"%s\" already exists", name),
				 errhint("Change it with wbcache.alter_endpoint(), or choose another name.")));

	memset(row.null, true, sizeof(row.null));
	take_arguments(fcinfo, &row);
	set_defaults(&row);
	set_default(&row, WBC_ENDPOINT_OWNER, ObjectIdGetDatum(GetUserId()));
	check_and_write(fcinfo, table, INSERT_ENDPOINT, &row);
	table_close(table, NoLock);
	PG_RETURN_VOID();
}

static void report_no_endpoint(const char *name) pg_attribute_noreturn();

static void
report_no_endpoint(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("endpoint \"%s\" does not exist", name),
			 errhint("Check the name, or make it with wbcache.create_endpoint().")));
}

Datum
wbcache_alter_endpoint(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo);
	Relation	table;
	WbcEndpointRow row;

	PreventCommandIfReadOnly("wbcache.alter_endpoint()");
	table = open_for_writing();
	if (!find_own_row(table, name, &row))
		report_no_endpoint(name);

	take_arguments(fcinfo, &row);
	check_and_write(fcinfo, table, UPDATE_ENDPOINT, &row);
	table_close(table, NoLock);
	PG_RETURN_VOID();
}

Datum
wbcache_drop_endpoint(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo);
	bool		if_exists = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	Relation	table;
	WbcEndpointRow row;

	PreventCommandIfReadOnly("wbcache.drop_endpoint()");
	table = open_for_writing();
	if (find_own_row(table, name, &row))
		write_row(table, DELETE_ENDPOINT, 1, &row);
	else if (if_exists)
		ereport(NOTICE,
				(errmsg("endpoint \"%s\" does not exist, skipping", name)));
	else
		report_no_endpoint(name);
	table_close(table, NoLock);
	PG_RETURN_VOID();
}
