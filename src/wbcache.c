/*-------------------------------------------------------------------------
 *
 * wbcache.c
 *	  A stale-while-revalidate cache inside PostgreSQL: the module's entry,
 *	  and the map of its files.
 *
 * A key is read with one SQL call.  What is in memory is returned at once,
 * also when it is stale; what is not is fetched, once for all who want it, by
 * a background worker.  Invalidation takes effect with the commit of the
 * transaction that asked for it.
 *
 * A file includes only headers of the layers below it, and of its own layer those
 * that stand above it here.  What is named after another file, as swr_miss.c after
 * swr.c, and not listed here is a part of that one.
 *
 *	5 entry		read.c			SQL: get, lookup, get_many, get_with_swr
 *				stats.c			SQL: what the statistics views show
 *				describe.c		what all of these numbers are
 *				prometheus.c	SQL: metrics
 *				health.c		SQL: facts for health
 *				task_worker.c	the process of one run of a task
 *				fetcher.c		the worker that does all HTTP of a database
 *				loader.c		the workers that run SQL
 *				launcher.c		keeps these running in each database
 *				wbcache.c		_PG_init, hooks
 *	4 policy	refresh.c		from a fetch's end to all who want its result
 *				fetch.c			one fetch: definition, request, answer
 *				load.c			one flight carried out by an SQL loader
 *				swr.c			the read path
 *				writeback.c		what the loaders do for the table tier
 *				push.c			what they tell others of invalidations
 *				hotkey.c		the hottest keys: noted, and fetched again after a crash
 *				invalidate.c	what is invalidated together
 *				invalidate_sql.c	SQL: invalidate and its like
 *				write.c			SQL: set, delete, clear
 *				watch.c			triggers on the user's tables
 *				sidebar.c		the sidebar: how current its data is, its keys
 *				bindable.c		what can be bound: a user's table, its columns
 *				bind.c			SQL: bind_events, watch_odds and their opposites
 *				endpoint_trigger.c	what a change of wbcache.endpoint entails
 *				endpoint_ddl.c	SQL: create_endpoint and its like
 *				task.c			rows of wbcache.task, and what becomes of them
 *				task_clock.c	starting tasks when their time has come
 *				task_ddl.c		SQL: schedule_task and its like, run_task
 *				warmer.c		one run of the warmer
 *				warmer_sql.c	SQL: warm_keys, and what the warmer has done
 *	3 mechanism	worker.c		which processes run
 *				flight.c		fetches in progress and those who wait
 *				ahead.c			keys that are refreshed before they turn stale
 *				pending.c		what a transaction will do at commit
 *				pending_end.c	doing it
 *				pattern.c		key patterns and templates
 *				endpoint.c		routing, privileges, what a value depends on
 *				router.c		a part of it: from a key to its endpoint
 *				endpoint_row.c	one row of wbcache.endpoint, compiled
 *				watched.c		which columns of the user's tables mean what
 *				call.c			calling an SQL loader with its role's rights
 *				http.c			libcurl, knows nothing of caching
 *				transfer.c		a part of it: one request
 *				server.c		options of servers and user mappings
 *				breaker.c		breaker and rate limit as state machines
 *				upstream.c		each server's breaker, rate limit, counters
 *	2 state		generation.c	the stripes that make invalidation exact
 *				glob.c			the patterns that were invalidated last
 *				registry.c		keys that are registered for games
 *				stamp.c			all three of these, for a key
 *				memory.c		the memory tier
 *				table.c			the table tier
 *				journal.c		counters and events of invalidation
 *				metrics.c		counters, and what took how long
 *				warmer_state.c	what the warmer has done, and does
 *	1 base		guc.c			settings
 *				shmem.c			shared memory for all of them
 *				keep.c			what of it survives a clean restart
 *				key.c			identity of entries
 *				ttl.c			intervals
 *				odds.c			whether odds have moved
 *				status.c		what a feed's words for a game's state mean
 *				error.c			errors that travel through shared memory
 *				histogram.c		durations in buckets
 *				window.c		the last five minutes of counters
 *				statement.c		our own statements, as the owner of our tables
 *	0 words		wbcache.h		limits, identities, outcomes
 *				reason.h		why something was invalidated, and what
 *				compat.h		PostgreSQL 15 to 18
 *
 * Order of locks: flight lock, then one partition lock of the memory tier, then
 * the lock of the globs.  All others are taken alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ahead.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_trigger.h"
#include "endpoint.h"
#include "flight.h"
#include "fmgr.h"
#include "generation.h"
#include "glob.h"
#include "guc.h"
#include "health.h"
#include "hotkey.h"
#include "journal.h"
#include "launcher.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "registry.h"
#include "shmem.h"
#include "upstream.h"
#include "utils/timestamp.h"
#include "warmer_state.h"
#include "watch.h"
#include "worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static object_access_hook_type prev_object_access = NULL;

/*
 * DROP DATABASE fails while a session is in the database, and so it would for
 * our fetcher.  The core asks this hook before it looks for sessions, and then
 * gives them 5 s to end.
 *
 * It also tells where rows of watched tables come or go without a trigger.
 */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == DatabaseRelationId)
		wbc_worker_stop_for_drop(object_id, GetCurrentTimestamp());
	if (access == OAT_TRUNCATE && class_id == RelationRelationId)
		wbc_watch_truncated(object_id);
	if ((access == OAT_DROP || access == OAT_POST_CREATE) &&
		class_id == TriggerRelationId)
		wbc_watch_trigger_altered(object_id);
}

static void
claim_shared_memory(void)
{
	wbc_generation_register();
	wbc_glob_register();
	wbc_registry_register();
	wbc_journal_register();
	wbc_metrics_register();
	wbc_memory_register();
	wbc_flight_register();
	wbc_upstream_register();
	wbc_worker_register();
	wbc_hotkey_register();
	wbc_ahead_register();
	wbc_warmer_state_register();
	wbc_health_register();
	wbc_shmem_install_hooks();
}

/*
 * Without preloading, the library still loads: so that CREATE EXTENSION works,
 * and the functions can say what is missing.
 */
void
_PG_init(void)
{
	wbc_guc_define();
	wbc_endpoint_init();
	wbc_pending_install_callbacks();

	if (!process_shared_preload_libraries_in_progress)
		return;

	claim_shared_memory();
	if (!IsBinaryUpgrade)		/* whose new cluster must get no XIDs of ours */
		wbc_launcher_register();
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
