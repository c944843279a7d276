/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  The settings, all of them.
 *
 * Layer 1.  Settings that size shared memory exist only where the library
 * was preloaded: elsewhere there is no shared memory to size.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "guc.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

int			wbc_guc_memory_size = 128 * 1024;
int			wbc_guc_max_value_size = 8 * 1024;
int			wbc_guc_max_flights = 1024;
int			wbc_guc_max_wait = 5000;
int			wbc_guc_loaders = 2;
int			wbc_guc_sidebar_alert_time = 30000;
int			wbc_guc_warmer_budget = 1000;
int			wbc_guc_warmer_ahead = 70 * 60 * 1000;
int			wbc_guc_warmer_categories = 5;
char	   *wbc_guc_warmer_sportsbooks = NULL;
int			wbc_guc_alert_rate = 100;
double		wbc_guc_odds_threshold = 10;
char	   *wbc_guc_notify_channel = NULL;
int			wbc_guc_hot_keys = 1000;
int			wbc_guc_hot_keys_interval = 60 * 1000;

static char *databases = NULL;

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;

	if (!SplitIdentifierString(copy, ',', &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	list_free(names);
	pfree(copy);
	return true;
}

/*
 * NOTIFY takes no longer names.
 */
static bool
check_channel(char **newval, void **extra, GucSource source)
{
	if (strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("A channel's name has at most %d bytes.", NAMEDATALEN - 1);
	return false;
}

static void
define_invalidation(void)
{
	DefineCustomIntVariable("wbcache.invalidation_alert_rate",
							"Invalidations a minute in one database above which a warning is logged.",
							"At most one a minute, by a loader. 0: none.",
							&wbc_guc_alert_rate,
							100, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomRealVariable("wbcache.odds_threshold",
							 "Change of odds, in percent of the old ones, above which they count as moved.",
							 NULL,
							 &wbc_guc_odds_threshold,
							 10, 0, 100000,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.sidebar_alert_time",
							"Time above which a refresh of the sidebar's data logs a warning.",
							NULL,
							&wbc_guc_sidebar_alert_time,
							30000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomStringVariable("wbcache.notify_channel",
							   "Channel on which loaders announce committed invalidations by NOTIFY.",
							   "Empty: none. Whoever may connect to the database may listen, and so learn keys and tags.",
							   &wbc_guc_notify_channel,
							   "",
							   PGC_SIGHUP, 0,
							   check_channel, NULL, NULL);
}

/*
 * From when on health() worries.  The variables are there for the names: the
 * rules are in SQL, and read the settings.
 */
static void
define_health(void)
{
	static const struct
	{
		const char *name;
		const char *what;
		const char *more;
		int			boot;
		int			max;
		int			flags;
	}			thresholds[] = {
		{"wbcache.health_min_reads",
		"Reads of the last 5 minutes below which their hit ratio and their errors are not judged.",
		NULL, 100, INT_MAX, 0},
		{"wbcache.health_hit_percent",
		"Share of reads answered from the cache below which health() warns, in percent.",
		"0: never.", 80, 100, 0},
		{"wbcache.health_error_percent",
		"Share of reads that ended in an error above which the cache is degraded, in percent.",
		"100: never.", 5, 100, 0},
		{"wbcache.health_min_fetches",
		"Fetches of an endpoint in the last 5 minutes below which their failures are not judged.",
		NULL, 10, INT_MAX, 0},
		{"wbcache.health_failure_percent",
		"Share of an endpoint's fetches that failed above which health() warns, in percent.",
		"100: never.", 20, 100, 0},
		{"wbcache.health_eviction_rate",
		"Evictions from memory a minute above which health() warns.",
		"0: never.", 1000, INT_MAX, 0},
		{"wbcache.health_waiters",
		"Reads that wait for a fetch at one time above which health() warns.",
		"0: never.", 50, INT_MAX, 0},
		{"wbcache.health_full_percent",
		"Share of wbcache.max_flights, and of the registered keys there is room for, above which health() warns, in percent.",
		"100: never.", 80, 100, 0},
		{"wbcache.health_unwritten_percent",
		"Share of memory's slots whose entries the table tier has yet to get above which health() warns, in percent.",
		"100: never.", 5, 100, 0},
		{"wbcache.health_sidebar_age",
		"Age of sidebar_data, while it is behind, above which health() warns.",
		"0: never.", 15 * 60 * 1000, INT_MAX, GUC_UNIT_MS},
		{"wbcache.health_warmer_age",
		"Time since the last start of the task \"warmer\" above which health() warns.",
		"0: never.", 15 * 60 * 1000, INT_MAX, GUC_UNIT_MS},
	};
	static int	value[lengthof(thresholds)];

	for (int i = 0; i < lengthof(thresholds); i++)
		DefineCustomIntVariable(thresholds[i].name, thresholds[i].what,
								thresholds[i].more, &value[i],
								thresholds[i].boot, 0, thresholds[i].max,
								PGC_USERSET, thresholds[i].flags,
								NULL, NULL, NULL);
}

static void
define_hot_keys(void)
{
	DefineCustomIntVariable("wbcache.hot_keys",
							"Keys in each database that are fetched again, hottest first, when the cache was lost.",
							"They are kept in the table wbcache.hot_key. 0: none.",
							&wbc_guc_hot_keys,
							1000, 0, WBC_HOT_KEYS_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.hot_keys_interval",
							"Time between two looks at which keys are the hottest.",
							"What has become hot since the last one is not known after a crash.",
							&wbc_guc_hot_keys_interval,
							60 * 1000, 1000, 10 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

static void
define_warmer(void)
{
	DefineCustomIntVariable("wbcache.warmer_budget",
							"Requests that a run of the warmer may make.",
							"What is left over for want of it comes first to be warmed in the next runs, by priority.",
							&wbc_guc_warmer_budget,
							1000, 1, INT_MAX,
							PGC_USERSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.warmer_ahead",
							"How long before its start a game is warmed by the task.",
							"An hour, and what may pass until the next run.",
							&wbc_guc_warmer_ahead,
							70 * 60 * 1000, 1, 7 * 24 * 60 * 60 * 1000,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.warmer_categories",
							"Categories of props that are warmed for each game.",
							"Those of highest weight in wbcache.warmer_weight.",
							&wbc_guc_warmer_categories,
							5, 1, 100,
							PGC_USERSET, 0,
							NULL, NULL, NULL);

	DefineCustomStringVariable("wbcache.warmer_sportsbooks",
							   "Comma-separated sportsbooks whose props are warmed.",
							   NULL,
							   &wbc_guc_warmer_sportsbooks,
							   "draftkings,fanduel",
							   PGC_USERSET, 0,
							   NULL, NULL, NULL);
}

static void
define_sizes(void)
{
	DefineCustomIntVariable("wbcache.memory_size",
							"Shared memory for cached values and their index.",
							"Reserved at server start, never exceeded; when it is full the least useful entries go.",
							&wbc_guc_memory_size,
							128 * 1024, 4 * 1024, 32 * 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.max_flights",
							"Fetches that can be under way or waiting to start, over all databases.",
							NULL,
							&wbc_guc_max_flights,
							1024, 16, 65536,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
}

/*
 * Called once, from _PG_init.
 */
void
wbc_guc_define(void)
{
	if (process_shared_preload_libraries_in_progress)
		define_sizes();

	DefineCustomStringVariable("wbcache.databases",
							   "Comma-separated names of the databases that are served.",
							   NULL,
							   &databases,
							   "postgres",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);

	DefineCustomIntVariable("wbcache.loaders",
							"Processes in each of these databases that run SQL loaders and tasks.",
							"Each takes one of max_worker_processes, as do the fetcher and the launcher.",
							&wbc_guc_loaders,
							2, 0, WBC_LOADERS_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.max_value_size",
							"Largest value that is cached.",
							"A larger one is refused with an error, and so is an upstream's answer above it. Values above a quarter of wbcache.memory_size are refused too.",
							&wbc_guc_max_value_size,
							8 * 1024, 1, 512 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("wbcache.max_wait",
							"Longest time a read waits for a fetch.",
							NULL,
							&wbc_guc_max_wait,
							5000, 1, 10 * 60 * 1000,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	define_invalidation();
	define_hot_keys();
	define_warmer();
	define_health();
	MarkGUCPrefixReserved("wbcache");
}

/*
 * The names in wbcache.databases, in the current memory context.
 */
List *
wbc_guc_database_list(void)
{
	List	   *names = NIL;

	(void) SplitIdentifierString(pstrdup(databases), ',', &names);
	return names;
}

/*
 * Should this database have a fetcher?  NULL: no.
 */
bool
wbc_guc_lists_database(const char *name)
{
	ListCell   *cell;

	if (name == NULL)
		return false;
	foreach(cell, wbc_guc_database_list())
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}
