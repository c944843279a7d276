/*-------------------------------------------------------------------------
 *
 * invalidate.c
 *	  SQL functions that write: invalidate, invalidate_tag, set, delete,
 *	  clear.
 *
 * Layer 4.  They only list what is to be done; pending.c does it when the
 * transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "endpoint.h"
#include "fmgr.h"
#include "key.h"
#include "memory.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "ttl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(wbcache_invalidate);
PG_FUNCTION_INFO_V1(wbcache_invalidate_tag);
PG_FUNCTION_INFO_V1(wbcache_set);
PG_FUNCTION_INFO_V1(wbcache_delete);
PG_FUNCTION_INFO_V1(wbcache_clear);

/*
 * The key the user named, which the current role must be allowed to write.
 */
static void
begin_write(const text *from, WbcKey *key, WbcRoute *route)
{
	wbc_shmem_require();
	wbc_endpoint_prepare();

	wbc_key_from_text(key, from);
	if (!wbc_endpoint_route(key, route))
		wbc_endpoint_report_no_route(key);
	if (!wbc_endpoint_may_write(route->endpoint, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write keys of endpoint \"%s\"",
						NameStr(route->endpoint->name)),
				 errhint("Ask the endpoint's owner to add your role to its writers.")));
}

/*
 * The stripe of a tag the user named.  Throws when it is empty.
 */
static uint32
stripe_of_tag(const text *tag)
{
	if (VARSIZE_ANY_EXHDR(tag) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tag is empty"),
				 errhint("Give a tag such as 'game:42'.")));
	return wbc_generation_stripe_of_tag(MyDatabaseId, VARDATA_ANY(tag),
										VARSIZE_ANY_EXHDR(tag));
}

Datum
wbcache_invalidate(PG_FUNCTION_ARGS)
{
	WbcRoute	route;
	WbcKey		key;

	begin_write(PG_GETARG_TEXT_PP(0), &key, &route);
	wbc_pending_invalidate(wbc_generation_stripe_of_key(&key));
	PG_RETURN_VOID();
}

Datum
wbcache_invalidate_tag(PG_FUNCTION_ARGS)
{
	text	   *tag = PG_GETARG_TEXT_PP(0);

	wbc_shmem_require();
	wbc_pending_invalidate(stripe_of_tag(tag));
	PG_RETURN_VOID();
}

Datum
wbcache_delete(PG_FUNCTION_ARGS)
{
	WbcRoute	route;
	WbcKey		key;

	begin_write(PG_GETARG_TEXT_PP(0), &key, &route);
	wbc_pending_delete(&key);
	PG_RETURN_VOID();
}

Datum
wbcache_clear(PG_FUNCTION_ARGS)
{
	wbc_shmem_require();
	wbc_pending_invalidate_everything();
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * set
 * ----------------------------------------------------------------
 */

static void
check_size(Size size)
{
	if (size > wbc_memory_value_limit())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value is too large to be cached"),
				 errdetail("It has %zu bytes; the limit is %zu.",
						   size, wbc_memory_value_limit()),
				 errhint("Store a smaller value, or raise wbcache.max_value_size (and wbcache.memory_size to at least four times that).")));
}

static void
add_tags(WbcStamp *stamp, ArrayType *tags)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			continue;
		if (stamp->n >= WBC_STAMP_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many tags"),
					 errdetail("A value carries at most %d tags, those of its endpoint included.",
							   WBC_TAGS_MAX),
					 errhint("Pass fewer tags.")));
		wbc_generation_stamp_add(stamp,
								 stripe_of_tag(DatumGetTextPP(elements[i])));
	}
}

/*
 * The TTLs of a value that is set: those given, else the endpoint's.
 */
static void
choose_ttls(FunctionCallInfo fcinfo, const WbcEndpoint *endpoint,
			WbcPendingValue *value)
{
	value->soft_ttl = endpoint->soft_ttl;
	if (!PG_ARGISNULL(2))
		value->soft_ttl =
			wbc_ttl_from_interval(PG_GETARG_INTERVAL_P(2), "soft_ttl",
								  1, WBC_TTL_MAX,
								  "Give a time above zero and up to 100 years, such as '5 min'.");
	value->hard_ttl = Max(endpoint->hard_ttl, value->soft_ttl);
	if (!PG_ARGISNULL(3))
		value->hard_ttl =
			wbc_ttl_from_interval(PG_GETARG_INTERVAL_P(3), "hard_ttl",
								  1, WBC_TTL_MAX,
								  "Give a time that is not below soft_ttl, and up to 100 years, such as '10 min'.");
	wbc_ttl_check_order(value->soft_ttl, value->hard_ttl);
}

/*
 * set(key, value, soft_ttl, hard_ttl, tags).  Not strict: the last three may
 * be NULL; a NULL key or value does nothing.
 */
Datum
wbcache_set(PG_FUNCTION_ARGS)
{
	WbcPendingValue value;
	WbcRoute	route;
	text	   *json;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();

	begin_write(PG_GETARG_TEXT_PP(0), &value.key, &route);
	json = PG_GETARG_TEXT_PP(1);
	value.value = VARDATA_ANY(json);
	value.value_len = VARSIZE_ANY_EXHDR(json);
	check_size(value.value_len);
	choose_ttls(fcinfo, route.endpoint, &value);

	wbc_endpoint_stamp(&value.key, &route, &value.stamp);
	if (!PG_ARGISNULL(4))
		add_tags(&value.stamp, PG_GETARG_ARRAYTYPE_P(4));
	wbc_generation_stamp_take(&value.stamp);
	wbc_pending_set(&value);
	PG_RETURN_VOID();
}
