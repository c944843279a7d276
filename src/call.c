/*-------------------------------------------------------------------------
 *
 * call.c
 *	  Calling an SQL loader with the rights of the role it belongs to.
 *
 * Layer 3.  In a loader process this is the whole of a transaction; in a
 * client that has itself invalidated the key it is a part of the client's.
 * Either way the function runs as its role, in a security-restricted context
 * (no SET ROLE, no temporary objects, no deferred surprises), with a
 * search_path of pg_catalog and pg_temp, as the core runs functions in
 * indexes and materialized views.  Otherwise it may do what the role may do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "call.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "statement.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/*
 * Throws unless this function can be a loader.
 */
void
wbc_call_check_type(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	const char *fault = NULL;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("loader with OID %u does not exist", function),
				 errhint("Name a function, such as 'public.load_sidebar(text[])'.")));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset)
		fault = "is not a plain function";
	else if (proc->pronargs != 1 || proc->proargtypes.values[0] != TEXTARRAYOID)
		fault = "does not take text[]";
	else if (proc->prorettype != JSONOID)
		fault = "does not return json";
	ReleaseSysCache(tuple);

	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("loader %s %s", format_procedure(function), fault),
				 errhint("A loader is a function that takes the key's parts as text[] and returns json.")));
}

static Oid
look_up(const char *signature)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		function;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("loader %s does not exist", signature),
				 errhint("Create the function, or name another one, such as 'public.load_sidebar(text[])'.")));
	return DatumGetObjectId(function);
}

/*
 * The function that a signature such as 'public.load_sidebar(text[])' names,
 * whatever the search_path of whoever asks: a reader must not be able to put
 * another one in its place.  Throws unless it exists and can be a loader.
 */
Oid
wbc_call_find(const char *signature)
{
	int			nest_level = NewGUCNestLevel();
	Oid			function;

	wbc_statement_set("search_path", "pg_catalog, pg_temp", GUC_ACTION_SAVE);
	function = look_up(signature);
	AtEOXact_GUC(false, nest_level);

	wbc_call_check_type(function);
	return function;
}

/*
 * What a caller means by a signature, in words that mean the same to everyone:
 * with its schema.  Throws unless it can be a loader.
 */
char *
wbc_call_qualify(const char *signature)
{
	Oid			function = look_up(signature);

	wbc_call_check_type(function);
	return format_procedure_qualified(function);
}

static Datum
parts_as_array(const WbcParts *parts)
{
	Datum		elements[WBC_SEGMENTS_MAX];

	for (int i = 0; i < parts->n; i++)
		elements[i] =
			PointerGetDatum(cstring_to_text_with_len(parts->part[i].start,
													 parts->part[i].len));
	return PointerGetDatum(construct_array(elements, parts->n, TEXTOID, -1,
										   false, TYPALIGN_INT));
}

/*
 * Throws unless the function and the role are still there, and the role may
 * execute it.
 */
void
wbc_call_check_right(Oid function, Oid role)
{
	char	   *name = get_func_name(function);
	AclResult	result;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that the loader runs as does not exist any more"),
				 errhint("Give the endpoint another owner with wbcache.alter_endpoint().")));

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("loader does not exist"),
				 errhint("Create the function, or name another one.")));
	result = wbc_compat_function_execute(function, role);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, name);
}

static char *
as_milliseconds(int64 microseconds)
{
	return psprintf(INT64_FORMAT, (microseconds + 999) / 1000);
}

static Datum
invoke(const WbcCall *call, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	function;
	Datum		result;

	fmgr_info(call->function, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = parts_as_array(call->parts);
	fcinfo->args[0].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/*
 * Calls the loader and returns its value.  Needs a transaction with an active
 * snapshot.  Throws what the loader throws; the user and the settings are then
 * put back by the end of the (sub)transaction, as after any error.
 */
text *
wbc_call(const WbcCall *call)
{
	int			nest_level = NewGUCNestLevel();
	Oid			caller;
	int			context;
	Datum		value;
	bool		isnull;

	wbc_call_check_right(call->function, call->role);
	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(call->role, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	wbc_statement_set("search_path", "pg_catalog, pg_temp", GUC_ACTION_SAVE);
	wbc_statement_set("lock_timeout", as_milliseconds(call->lock_timeout), GUC_ACTION_SAVE);

	value = invoke(call, &isnull);

	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(caller, context);

	if (!isnull)
		return DatumGetTextPP(value);
	if (!call->null_is_value)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("loader %s returned NULL",
						get_func_name(call->function)),
				 errhint("Let it return a JSON value, or let the endpoint take NULL for JSON null (null_is_value => true).")));
	return cstring_to_text("null");
}
