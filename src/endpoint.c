/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *	  Which endpoint a key belongs to, who may use it, and what its values
 *	  depend on.
 *
 * Layer 3.  Each process compiles the whole table wbcache.endpoint once and
 * routes from its own memory; nothing is shared and nothing is locked.  The
 * table's triggers (endpoint_trigger.c) send a relcache invalidation of the table
 * with every change.  What arrives here is only counted; the next
 * wbc_endpoint_prepare() compiles anew.
 *
 * Invariants:
 *
 * - What is compiled is valid while "changes" is what it was just before the
 *   snapshot of the scan was taken.  An error in between leaves it invalid.
 *
 * - The invalidation reaches others a moment after the change became visible
 *   and its generations were committed.  In this moment a process could stamp
 *   a fetch with the new generations and still use the old endpoint.  So every
 *   change of the table commits a stripe of its own too, WBC_ENDPOINT_TABLE,
 *   and what is compiled remembers what that held before the scan: who has
 *   taken a stamp asks wbc_endpoint_is_current() before he relies on it.
 *
 * - Rows that the current transaction has written may vanish with it, and
 *   counters of their name may be given up when it commits.  So they have no
 *   counters of their own yet.  A process gets its own invalidations too, be
 *   it at commit or at abort, and compiles anew after either.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "endpoint.h"
#include "endpoint_row.h"
#include "guc.h"
#include "key.h"
#include "mb/pg_wchar.h"
#include "metrics.h"
#include "miscadmin.h"
#include "router.h"
#include "shmem.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Rounds in which the endpoints may change while they are read. */
#define ROUNDS_MAX		10

/* Bytes of a key that an error message shows. */
#define SHOWN_KEY_MAX	120

typedef struct Compiled
{
	MemoryContext context;		/* holds all that is pointed to */
	uint64		changes;		/* valid while it equals the global one */
	WbcStamp	stamp;			/* of the table, taken before the scan */
	int			n;
	int			size;
	WbcEndpoint **endpoints;
	WbcRouter  *router;
} Compiled;

static Compiled compiled;

/* Counts events that may have changed the table. */
static uint64 changes = 1;

/* Counts events that may have changed who is a member of what. */
static uint64 role_changes = 1;

/* The table that was compiled; InvalidOid: none, or not known. */
static Oid	table_oid = InvalidOid;

/* ----------------------------------------------------------------
 * Noticing changes
 * ----------------------------------------------------------------
 */

/* While no table is known, any relation may be the one that is new. */
static void
relcache_callback(Datum arg, Oid relid)
{
	if (relid == table_oid || !OidIsValid(relid) || !OidIsValid(table_oid))
		changes++;
}

static void
role_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	role_changes++;
}

/*
 * Called once, from _PG_init.  A database's owner is a member of
 * pg_database_owner, hence DATABASEOID.
 */
void
wbc_endpoint_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, role_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, role_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, role_callback, (Datum) 0);
}

/* ----------------------------------------------------------------
 * Compiling
 * ----------------------------------------------------------------
 */

static void
add_row(Compiled *new, Relation table, HeapTuple tuple)
{
	WbcEndpointRow row;
	WbcEndpoint *endpoint = palloc(sizeof(WbcEndpoint));

	wbc_endpoint_row_deform(table, tuple, &row);
	if (!wbc_endpoint_row_try_compile(&row, endpoint))
		return;

	endpoint->uncommitted =
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	if (wbc_shmem_is_ready() && !endpoint->uncommitted)
		endpoint->metrics = wbc_metrics_endpoint_slot(MyDatabaseId,
													  NameStr(endpoint->name),
													  GetCurrentTimestamp());

	if (new->n >= new->size)
	{
		new->size *= 2;
		new->endpoints = repalloc(new->endpoints,
								  new->size * sizeof(WbcEndpoint *));
	}
	new->endpoints[new->n++] = endpoint;
}

/*
 * The stamp of the whole table: its own stripe, and everyone's because a long
 * transaction lists that one instead.
 */
static void
take_table_stamp(WbcStamp *stamp)
{
	stamp->n = 0;
	if (!wbc_shmem_is_ready())
		return;
	wbc_generation_stamp_add(stamp, WBC_STRIPE_EVERYONE);
	wbc_generation_stamp_add(stamp,
							 wbc_generation_stripe_of_endpoint(MyDatabaseId,
															   WBC_ENDPOINT_TABLE));
	wbc_generation_stamp_take(stamp);
}

/*
 * The scan sees what was committed before it, whatever the transaction's own
 * snapshot is, and works in parallel mode.
 */
static void
scan_table(Compiled *new, Relation table)
{
	SysScanDesc scan;
	HeapTuple	tuple;

	wbc_endpoint_row_check_layout(table);
	scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		add_row(new, table, tuple);
	systable_endscan(scan);
}

/*
 * Opens the table, or returns NULL when there is none.  While it isn't known
 * which one it is, every invalidation counts as a change.
 */
static Relation
open_table(void)
{
	Relation	table;
	Oid			oid;

	table_oid = InvalidOid;
	oid = wbc_endpoint_row_table();
	if (!OidIsValid(oid))
		return NULL;

	table = try_table_open(oid, AccessShareLock);
	if (table != NULL)
		table_oid = oid;
	return table;
}

/*
 * Within this GUC nest level nothing waits longer for a lock than a read may
 * wait at all.
 */
static void
limit_lock_waits(void)
{
	char		limit[32];

	if (LockTimeout > 0 && LockTimeout <= wbc_guc_max_wait)
		return;
	snprintf(limit, sizeof(limit), "%d", wbc_guc_max_wait);
	(void) set_config_option("lock_timeout", limit, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
error_context(void *arg)
{
	errcontext("reading the endpoints from table wbcache.endpoint");
}

static void
compile(Compiled *new)
{
	int			nest_level = NewGUCNestLevel();
	Relation	table;

	new->size = 16;
	new->endpoints = palloc(new->size * sizeof(WbcEndpoint *));

	limit_lock_waits();
	table = open_table();
	new->changes = changes;
	take_table_stamp(&new->stamp);
	if (table != NULL)
	{
		scan_table(new, table);
		table_close(table, AccessShareLock);
	}
	AtEOXact_GUC(true, nest_level);

	new->router = wbc_router_make(new->endpoints, new->n);
}

/*
 * Puts a newly compiled table in place of the old one.  The new one lives in
 * the caller's context until it is complete, so that an error frees it.  The
 * old one may still be in use, by a read that runs a loader in its own
 * transaction, which reads: it goes when the transaction ends.
 */
static void
rebuild(void)
{
	ErrorContextCallback callback = {error_context_stack, error_context, NULL};
	Compiled	new = {0};
	MemoryContext caller;

	new.context = AllocSetContextCreate(CurrentMemoryContext,
										"wbcache endpoints",
										ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(new.context);
	error_context_stack = &callback;
	compile(&new);
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(caller);

	if (compiled.context != NULL)
		MemoryContextSetParent(compiled.context, TopTransactionContext);
	MemoryContextSetParent(new.context, CacheMemoryContext);
	compiled = new;
}

/*
 * Makes sure that what follows in this command goes by the endpoints of now.
 * To be called, within a transaction, before the other functions.  Endpoints
 * that were routed to before are good until the transaction ends.
 *
 * Costs a look at the queue of invalidations when nothing has changed.  May
 * wait for a lock on the table for wbcache.max_wait, and throw.
 */
void
wbc_endpoint_prepare(void)
{
	AcceptInvalidationMessages();
	if (unlikely(compiled.changes != changes))
		rebuild();
}

/*
 * Do the endpoints still say what they said when they were prepared?  If not,
 * the next wbc_endpoint_prepare() compiles them anew.
 *
 * For whoever has taken the stamp of a fetch: the answer "yes", given after
 * that, means that a change of the endpoints will make the stamp outdated.
 */
bool
wbc_endpoint_is_current(void)
{
	WbcStamp	now;

	take_table_stamp(&now);
	for (int i = 0; i < now.n; i++)
		if (!wbc_generation_same(now.seen[i], compiled.stamp.seen[i]))
		{
			changes++;
			return false;
		}
	return true;
}

/*
 * For whoever tries until wbc_endpoint_is_current(): throws after so many rounds.
 */
void
wbc_endpoint_not_at_rest(int round)
{
	if (round < ROUNDS_MAX)
		return;
	ereport(ERROR,
			(errcode(WBC_ERRCODE_UPSTREAM_UNAVAILABLE),
			 errmsg("endpoints are being changed"),
			 errhint("Try again.")));
}

/* ----------------------------------------------------------------
 * Routing
 * ----------------------------------------------------------------
 */

/*
 * Is there an endpoint of this name?
 */
bool
wbc_endpoint_exists(const char *name, int len)
{
	for (int i = 0; i < compiled.n; i++)
	{
		const char *mine = NameStr(compiled.endpoints[i]->name);

		if (strlen(mine) == len && memcmp(mine, name, len) == 0)
			return true;
	}
	return false;
}

/*
 * Finds the endpoint of a key.  Returns false when there is none.
 */
bool
wbc_endpoint_route(const WbcKey *key, WbcRoute *route)
{
	if (!wbc_pattern_split(key->data, key->len, &route->parts))
		return false;
	route->endpoint = wbc_router_find(compiled.router, &route->parts);
	return route->endpoint != NULL;
}

/* ----------------------------------------------------------------
 * Privileges
 * ----------------------------------------------------------------
 */

static bool
has_privs_of_any(Oid role, const Oid *roles, int n)
{
	for (int i = 0; i < n; i++)
		if (has_privs_of_role(role, roles[i]))
			return true;
	return false;
}

/*
 * May this role read the endpoint's keys?  The last answer is remembered, and
 * taken from there without a look at the catalogs.
 */
bool
wbc_endpoint_may_read(WbcEndpoint *endpoint, Oid role)
{
	uint64		roles = role_changes;
	bool		allowed;

	if (likely(endpoint->reader_checked == role &&
			   endpoint->reader_roles == roles))
		return endpoint->reader_allowed;

	allowed = has_privs_of_role(role, endpoint->owner) ||
		has_privs_of_any(role, endpoint->readers, endpoint->nreaders);

	endpoint->reader_checked = role;
	endpoint->reader_allowed = allowed;
	endpoint->reader_roles = roles;
	return allowed;
}

bool
wbc_endpoint_may_write(WbcEndpoint *endpoint, Oid role)
{
	return has_privs_of_role(role, endpoint->owner) ||
		has_privs_of_any(role, endpoint->writers, endpoint->nwriters);
}

/*
 * The key the user named, which the current role must be allowed to write.
 */
void
wbc_endpoint_route_to_write(const text *from, WbcKey *key, WbcRoute *route)
{
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

/* ----------------------------------------------------------------
 * What a value depends on
 * ----------------------------------------------------------------
 */

/*
 * Lists the stripes that a key's value depends on; doesn't read them.
 * wbc_stamp_take() does, and adds those of the games it is registered for.
 */
void
wbc_endpoint_stamp(const WbcKey *key, const WbcRoute *route, WbcStamp *stamp)
{
	const WbcEndpoint *endpoint = route->endpoint;
	StringInfoData tag;

	stamp->n = 0;
	wbc_generation_stamp_add(stamp, WBC_STRIPE_EVERYONE);
	wbc_generation_stamp_add(stamp, WBC_STRIPE_GLOBS);
	wbc_generation_stamp_add(stamp, wbc_generation_stripe_of_key(key));
	wbc_generation_stamp_add(stamp, endpoint->stripe);
	if (endpoint->ntags == 0)
		return;

	initStringInfo(&tag);
	for (int i = 0; i < endpoint->ntags; i++)
	{
		resetStringInfo(&tag);
		wbc_pattern_fill(&endpoint->pattern, &route->parts,
						 endpoint->tags[i], WBC_FILL_PLAIN, &tag);
		wbc_generation_stamp_add(stamp,
								 wbc_generation_stripe_of_tag(key->dbid,
															  tag.data, tag.len));
	}
	pfree(tag.data);
}

/* ----------------------------------------------------------------
 * A key without an endpoint
 * ----------------------------------------------------------------
 */

static bool
is_readable(WbcEndpoint *endpoint)
{
	return wbc_endpoint_may_read(endpoint, GetUserId());
}

/* The key, or its beginning, for a message. */
static char *
printable_key(const WbcKey *key)
{
	int			len = pg_mbcliplen(key->data, key->len, SHOWN_KEY_MAX);
	char	   *shown = psprintf("%.*s%s", len, key->data,
								 len < key->len ? "..." : "");

	for (char *c = shown; *c; c++)
		if (iscntrl((unsigned char) *c) && !IS_HIGHBIT_SET(*c))
			*c = '?';
	return shown;
}

static int
hint_for_no_route(const WbcEndpoint *nearest)
{
	if (nearest != NULL)
		return errhint("The closest pattern is \"%s\" of endpoint \"%s\".",
					   nearest->pattern.source, NameStr(nearest->name));
	if (compiled.n > 0)
		return errhint("No pattern that you may read comes close; another endpoint can be made with wbcache.create_endpoint().");
	return errhint("There are no endpoints yet: make one with wbcache.create_endpoint(name, pattern, server, path).");
}

/*
 * Throws.  The hint never shows an endpoint that the role may not read.
 */
void
wbc_endpoint_report_no_route(const WbcKey *key)
{
	WbcEndpoint *nearest = NULL;
	WbcParts	parts;
	bool		well_formed = wbc_pattern_split(key->data, key->len, &parts);

	if (well_formed)
		nearest = wbc_router_nearest(compiled.router, &parts, is_readable);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("key \"%s\" matches no endpoint", printable_key(key)),
			 well_formed ? 0 :
			 errdetail("A key has 1 to %d segments, divided by colons, and none is empty.",
					   WBC_SEGMENTS_MAX),
			 well_formed ? hint_for_no_route(nearest) :
			 errhint("Correct the key's colons.")));
}
