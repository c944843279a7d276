/*-------------------------------------------------------------------------
 *
 * write.c
 *	  SQL functions that write: set, delete, clear.
 *
 * Layer 4.  They only list what is to be done; pending.c does it when the
 * transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "endpoint.h"
#include "flight.h"
#include "fmgr.h"
#include "key.h"
#include "memory.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "stamp.h"
#include "ttl.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(wbcache_set);
PG_FUNCTION_INFO_V1(wbcache_delete);
PG_FUNCTION_INFO_V1(wbcache_clear);

static void
write_to(const text *from, WbcKey *key, WbcRoute *route)
{
	wbc_shmem_require();
	wbc_endpoint_route_to_write(from, key, route);
}

Datum
wbcache_delete(PG_FUNCTION_ARGS)
{
	WbcRoute	route;
	WbcKey		key;

	write_to(PG_GETARG_TEXT_PP(0), &key, &route);
	wbc_pending_delete(&key);
	PG_RETURN_VOID();
}

Datum
wbcache_clear(PG_FUNCTION_ARGS)
{
	wbc_shmem_require();
	wbc_pending_invalidate_everything(WBC_REASON_MANUAL);
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
add_tag(WbcStamp *stamp, const text *tag)
{
	wbc_key_check_tag(tag);
	wbc_generation_stamp_add(stamp,
							 wbc_generation_stripe_of_tag(MyDatabaseId,
														  VARDATA_ANY(tag),
														  VARSIZE_ANY_EXHDR(tag)));
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
		if (stamp->n >= WBC_STAMP_MAX - WBC_GAMES_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many tags"),
					 errdetail("A value carries at most %d tags, those of its endpoint included.",
							   WBC_TAGS_MAX),
					 errhint("Pass fewer tags.")));
		add_tag(stamp, DatumGetTextPP(elements[i]));
	}
}

/*
 * The TTLs of a value that is set: those given, else the endpoint's.
 */
static void
choose_ttls(FunctionCallInfo fcinfo, const WbcEndpoint *endpoint,
			WbcPendingValue *value)
{
	value->soft_ttl = PG_ARGISNULL(2) ? endpoint->soft_ttl :
		wbc_ttl_soft(PG_GETARG_INTERVAL_P(2));
	value->hard_ttl = PG_ARGISNULL(3) ?
		Max(endpoint->hard_ttl, value->soft_ttl) :
		wbc_ttl_hard(PG_GETARG_INTERVAL_P(3));
	wbc_ttl_check_order(value->soft_ttl, value->hard_ttl);
}

/*
 * Fills in the key, its TTLs and its stamp.  Throws unless the role may write it.
 */
static void
take_stamp(FunctionCallInfo fcinfo, WbcPendingValue *value)
{
	for (int round = 1;; round++)
	{
		WbcRoute	route;

		write_to(PG_GETARG_TEXT_PP(0), &value->key, &route);
		choose_ttls(fcinfo, route.endpoint, value);
		wbc_endpoint_stamp(&value->key, &route, &value->stamp);
		if (!PG_ARGISNULL(4))
			add_tags(&value->stamp, PG_GETARG_ARRAYTYPE_P(4));
		wbc_stamp_take(&value->key, &value->stamp);
		if (wbc_endpoint_is_current())
			return;
		wbc_endpoint_not_at_rest(round);
	}
}

/*
 * What a lease has recorded says nothing of tags that come later.
 */
static void
refuse_tags(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("tags and a lease cannot be given together"),
			 errdetail("A lease records the generations of the endpoint's tags when it is given; others could have been invalidated since."),
			 errhint("Leave tags out, and give the endpoint those that its keys need.")));
}

/*
 * Takes the generations that a lease has recorded.
 */
static void
use_lease(WbcPendingValue *value, uint64 lease, TimestampTz now)
{
	if (!wbc_flight_lease_stamp(&value->key, lease, now, &value->stamp))
		ereport(ERROR,
				(errcode(WBC_ERRCODE_LEASE_LOST),
				 errmsg("the lease is not valid any more"),
				 errdetail("Its time was over, or the key was invalidated since."),
				 errhint("Call wbcache.acquire() again, and compute the value anew.")));
	value->lease = lease;
}

/*
 * set(key, value, soft_ttl, hard_ttl, tags, lease).  Not strict: the last four
 * may be NULL; a NULL key or value does nothing.
 */
Datum
wbcache_set(PG_FUNCTION_ARGS)
{
	WbcPendingValue value;
	text	   *json;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();

	take_stamp(fcinfo, &value);
	if (!PG_ARGISNULL(4) && !PG_ARGISNULL(5))
		refuse_tags();
	json = PG_GETARG_TEXT_PP(1);
	value.value = VARDATA_ANY(json);
	value.value_len = VARSIZE_ANY_EXHDR(json);
	check_size(value.value_len);
	value.lease = 0;
	if (!PG_ARGISNULL(5))
		use_lease(&value, (uint64) PG_GETARG_INT64(5), GetCurrentTimestamp());
	wbc_pending_set(&value);
	if (wbc_memory_dirt_is_urgent())
		wbc_worker_wake_loaders(MyDatabaseId);
	PG_RETURN_VOID();
}
