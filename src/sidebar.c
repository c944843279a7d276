/*-------------------------------------------------------------------------
 *
 * sidebar.c
 *	  The sidebar: how current its materialized view is, and its keys.
 *
 * Layer 4.  bind_events() makes the view wbcache.sidebar_now over the events,
 * and the materialized view wbcache.sidebar_data over that.  The loader of the
 * endpoint "sidebar" (wbcache.load_sidebar(), in SQL) reads sidebar_data where
 * it is current, and else sidebar_now.  So a value is right either way, and a
 * refresh that is late makes it dearer, not older.
 *
 * Whether sidebar_data is current is known exactly: each change of a bound
 * table moves one stripe, wbc_invalidate_source_stripe(), and a refresh
 * keeps what that held before its snapshot was taken (sidebar_refresh.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "invalidate.h"
#include "key.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "shmem.h"
#include "sidebar.h"
#include "sidebar_parts.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* The endpoint, and its loader as wbcache.endpoint has it. */
#define ENDPOINT	"sidebar"
#define LOADER		"wbcache.load_sidebar(pg_catalog.text[])"

/* How a value of the loader begins; what follows says where it is from. */
#define SOURCE		"{\"source\" : \""
#define CURRENT		"sidebar_data\""

PG_FUNCTION_INFO_V1(wbcache_sidebar_state);
PG_FUNCTION_INFO_V1(wbcache_sidebar_fallback);
PG_FUNCTION_INFO_V1(wbcache_sport_weight_changed);

/* ----------------------------------------------------------------
 * Is sidebar_data current?
 * ----------------------------------------------------------------
 */

/*
 * What the contents of sidebar_data depend on.  The stripes are not read yet.
 */
void
wbc_sidebar_stamp_begin(WbcStamp *stamp)
{
	stamp->n = 0;
	wbc_generation_stamp_add(stamp, WBC_STRIPE_EVERYONE);
	wbc_generation_stamp_add(stamp, wbc_invalidate_source_stripe());
}

/*
 * Has the current transaction itself changed what the sidebar shows?
 */
static bool
is_own_change(const WbcStamp *stamp)
{
	WbcKey		key;

	wbc_key_make(&key, MyDatabaseId, ENDPOINT, strlen(ENDPOINT));
	return wbc_pending_touches(&key, stamp->n, stamp->stripe);
}

/*
 * Reads the stamp of the last refresh that has succeeded.  Returns false when
 * there is none of this life of the stripes.
 */
static bool
read_stamp(WbcStamp *stamp)
{
	WbcStatementScope scope;
	bool		found = false;

	wbc_statement_begin("sidebar_refresh_log", &scope);
	if (wbc_statement_execute("SELECT epoch, generations[1], generations[2]"
							  " FROM wbcache.sidebar_refresh_log WHERE error IS NULL"
							  " ORDER BY started DESC LIMIT 1",
							  0, NULL, NULL, NULL) > 0)
	{
		bool		null[3];
		Datum		value[3];

		for (int i = 0; i < 3; i++)
			value[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									 i + 1, &null[i]);
		found = !null[0] && !null[1] && !null[2] &&
			(uint64) DatumGetInt64(value[0]) == wbc_generation_epoch(MyDatabaseId);
		if (found)
		{
			stamp->seen[0] = (uint64) DatumGetInt64(value[1]);
			stamp->seen[1] = (uint64) DatumGetInt64(value[2]);
		}
	}
	wbc_statement_end(&scope);
	return found;
}

/*
 * The state of sidebar_data.  Needs a transaction; in READ COMMITTED it sees
 * what was committed up to now.
 */
WbcSidebarState
wbc_sidebar_state(void)
{
	Oid			view = wbc_statement_relation("sidebar_data");
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	bool		populated;
	WbcStamp	stamp;

	if (!HeapTupleIsValid(tuple))
		return WBC_SIDEBAR_MISSING;
	if (((Form_pg_class) GETSTRUCT(tuple))->relkind != RELKIND_MATVIEW)
	{
		ReleaseSysCache(tuple);
		return WBC_SIDEBAR_MISSING;
	}
	populated = ((Form_pg_class) GETSTRUCT(tuple))->relispopulated;
	ReleaseSysCache(tuple);
	if (!populated)
		return WBC_SIDEBAR_NOT_POPULATED;

	wbc_sidebar_stamp_begin(&stamp);
	if (!wbc_shmem_is_ready() || is_own_change(&stamp) || !read_stamp(&stamp) ||
		!wbc_generation_stamp_is_current(&stamp))
		return WBC_SIDEBAR_BEHIND;
	return WBC_SIDEBAR_CURRENT;
}

static const char *
state_label(WbcSidebarState state)
{
	switch (state)
	{
		case WBC_SIDEBAR_CURRENT:
			return "current";
		case WBC_SIDEBAR_BEHIND:
			return "behind";
		case WBC_SIDEBAR_NOT_POPULATED:
			return "not populated";
		case WBC_SIDEBAR_MISSING:
			return "missing";
	}
	return NULL;				/* keep compiler quiet */
}

Datum
wbcache_sidebar_state(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(state_label(wbc_sidebar_state())));
}

/*
 * Counts a load that had to do without sidebar_data.  Only loads do so: those
 * of whoever owns the events.
 */
Datum
wbcache_sidebar_fallback(PG_FUNCTION_ARGS)
{
	Oid			events = wbc_statement_relation("events");

	if (wbc_shmem_is_ready() && OidIsValid(events) &&
		wbc_compat_owns_relation(events, GetUserId()))
	{
		int			slot = wbc_metrics_endpoint_slot(MyDatabaseId, ENDPOINT,
														 GetCurrentTimestamp());

		wbc_metrics_count(&wbc_metrics_endpoint(slot)->fallbacks);
	}
	PG_RETURN_VOID();
}

/*
 * AFTER a statement that changes wbcache.sport_weight.
 */
Datum
wbcache_sport_weight_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function wbcache.sport_weight_changed can only be called as a trigger"),
				 errhint("Change the table wbcache.sport_weight.")));
	if (wbc_shmem_is_ready())
	{
		wbc_invalidate_source();
		wbc_invalidate_sidebar(NULL, NULL, WBC_REASON_MANUAL);
	}
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------
 * Keys and values
 * ----------------------------------------------------------------
 */

/*
 * An id as a segment of a key; NULL stands for all.  Throws if it can't be one.
 */
static char *
segment(const text *id, const char *argument)
{
	char	   *segment;

	if (id == NULL)
		return "all";
	segment = text_to_cstring(id);
	if (segment[0] == '\0' || strchr(segment, ':') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(segment[0] == '\0' ? "%s is empty" : "%s has a colon in it",
						argument),
				 errdetail("It is one segment of the key of a cached value."),
				 errhint("Leave %s out, and find what it stands for in the result.",
						 argument)));
	return segment;
}

text *
wbc_sidebar_key(const text *sport_id, const text *league_id)
{
	return cstring_to_text(psprintf("sidebar:%s:%s",
									segment(sport_id, "sport_id"),
									segment(league_id, "league_id")));
}

/*
 * Where a sidebar's value is from, unless from sidebar_data when that was
 * current: as the value itself says.  NULL: there is nothing to say.
 */
char *
wbc_sidebar_note(const WbcEndpoint *endpoint, const text *value)
{
	const char *data;
	const char *end;
	Size		len;

	if (endpoint == NULL || value == NULL || endpoint->loader == NULL ||
		strcmp(endpoint->loader, LOADER) != 0)
		return NULL;
	data = VARDATA_ANY(value);
	len = VARSIZE_ANY_EXHDR(value);
	if (len < strlen(SOURCE) + strlen(CURRENT) ||
		memcmp(data, SOURCE, strlen(SOURCE)) != 0)
		return NULL;
	data += strlen(SOURCE);
	len -= strlen(SOURCE);
	if (memcmp(data, CURRENT, strlen(CURRENT)) == 0)
		return NULL;
	end = memchr(data, '"', len);
	return end == NULL ? NULL : psprintf("from %.*s", (int) (end - data), data);
}
