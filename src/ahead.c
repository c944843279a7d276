/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  Keys whose values are refreshed before they turn stale.
 *
 * Layer 3.  A bounded list in shared memory.  The warmer puts keys on it, each
 * with a time until which it is good; the fetcher of their database looks at
 * them all once a second, and at each when its value is about to turn stale,
 * and starts a flight in advance then (flight.c).  So readers of these keys meet
 * neither a stale value nor, for long, an invalidated one, as long as the
 * upstream is well.  The list survives nothing: the next run of the warmer makes
 * it anew.  When a transaction commits that has changed a game, its keys are
 * looked at; when it has ended it, they go off the list.
 *
 * What other keys the warmer puts on the list may follow from a value: if that is
 * another one when it is looked at, the warmer is wanted before its time.
 *
 * When a value is due: so much before its soft expiry that the fetch, which took
 * its time the last time too, has ended by then; one that was invalidated, at
 * once, but no sooner than a quarter of its TTL after its fetch began, unless its
 * game has changed.
 *
 * One lock guards the list; nothing else is locked under it.  The fetcher copies
 * a key, and lets go of the lock before it looks for the value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ahead.h"
#include "common/hashfn.h"
#include "flight.h"
#include "key.h"
#include "memory.h"
#include "miscadmin.h"
#include "shmem.h"
#include "utils/timestamp.h"
#include "warmer_state.h"
#include "worker.h"

/* All keys are looked at this often, */
#define LOOK_INTERVAL	USECS_PER_SEC

/* for the fetcher, when its database has none. */
#define NOTHING_DUE		(60 * USECS_PER_SEC)

/* A refresh is begun this many fetch times before the value turns stale, */
#define FETCH_TIMES		4

/* but no later than this part of the TTL before it, and no sooner than that. */
#define LEAD_LEAST		20
#define LEAD_MOST		4

/* Until a fetch that has brought nothing is tried again; it doubles each time. */
#define AGAIN_FIRST		(USECS_PER_SEC / 2)
#define DOUBLINGS_MAX	6

typedef struct Item
{
	uint64		hash;			/* of the key; 0: free */
	uint64		group;			/* what it belongs to: see wbc_ahead_keep() */
	int			priority;
	int			tries;			/* flights since the value last changed */
	bool		is_urgent;		/* what it belongs to has changed */
	TimestampTz until;
	TimestampTz due;			/* 0: not looked at yet */
	TimestampTz not_before;		/* no flight is started before */
	TimestampTz seen;			/* cached_at of the value as of the last look */
	uint64		basis;			/* hash of the value that keys on the list follow
								 * from; 0: none do */
	WbcKey		key;
} Item;

typedef struct List
{
	uint64		changes;		/* keys that were added, or have become urgent */
	int			n;				/* items that may be in use: those below it */
	Item		items[WBC_AHEAD_MAX];
} List;

static List *list;
static LWLock *lock;

/* Of the fetcher. */
static TimestampTz next_look = 0;	/* at all of them */
static TimestampTz next_run = 0;
static uint64 seen_changes = 0;

static Size
list_size(void)
{
	return sizeof(List);
}

static void
list_attach(void *place, LWLockPadded *locks, bool found)
{
	list = place;
	lock = &locks[0].lock;
	if (!found)
		memset(list, 0, sizeof(List));
}

void
wbc_ahead_register(void)
{
	static const WbcShmemPiece piece = {
		.name = "wbcache_ahead",
		.nlocks = 1,
		.size = list_size,
		.attach = list_attach
	};

	wbc_shmem_register(&piece);
}

/* ----------------------------------------------------------------
 * For the warmer
 * ----------------------------------------------------------------
 */

/*
 * The item of this key, else one to put it in: a free one, or that of lowest
 * priority if this is higher.  NULL: the list is full.  Hold the lock.
 */
static Item *
find_place(const WbcKey *key, int priority)
{
	Item	   *place = NULL;

	for (int i = 0; i < list->n; i++)
	{
		Item	   *item = &list->items[i];

		if (item->hash == key->hash && wbc_key_equal(&item->key, key))
			return item;
		if (place == NULL || (place->hash != 0 &&
							  (item->hash == 0 || item->priority < place->priority)))
			place = item;
	}
	if (place != NULL && place->hash == 0)
		return place;
	if (list->n < WBC_AHEAD_MAX)
		return &list->items[list->n++];
	return place != NULL && place->priority < priority ? place : NULL;
}

static uint64
hash_value(const char *value, Size len)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) value, len, 0);

	return hash == 0 ? 1 : hash;
}

/*
 * Has a key's value refreshed ahead until then.  group: a hash of what it belongs
 * to.  basis: the value, if others on the list follow from it; else NULL.  Returns
 * false when the list is full of keys of higher priority.
 */
bool
wbc_ahead_add(const WbcKey *key, uint64 group, int priority, TimestampTz until,
			  const text *basis)
{
	uint64		hash = basis == NULL ? 0 :
		hash_value(VARDATA_ANY(basis), VARSIZE_ANY_EXHDR(basis));
	bool		is_new = false;
	Item	   *item;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	item = find_place(key, priority);
	if (item != NULL)
	{
		is_new = item->hash == 0 || !wbc_key_equal(&item->key, key);
		if (is_new)
		{
			item->hash = key->hash;
			item->due = item->not_before = item->seen = 0;
			item->tries = 0;
			item->is_urgent = false;
			wbc_key_copy(&item->key, key);
		}
		item->group = group;
		item->priority = priority;
		item->until = until;
		item->basis = hash;
		list->changes += is_new;
	}
	LWLockRelease(lock);

	if (is_new)
		wbc_flight_wake_fetcher(key->dbid);
	return item != NULL;
}

static int
compare_groups(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/*
 * Takes the keys of a database off the list that belong to none of these groups,
 * which it sorts.
 */
void
wbc_ahead_keep(Oid dbid, uint64 *groups, int n)
{
	if (n > 0)
		qsort(groups, n, sizeof(uint64), compare_groups);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < list->n; i++)
	{
		Item	   *item = &list->items[i];

		if (item->hash != 0 && item->key.dbid == dbid &&
			(n == 0 || bsearch(&item->group, groups, n, sizeof(uint64),
							   compare_groups) == NULL))
			item->hash = 0;
	}
	LWLockRelease(lock);
}

uint64
wbc_ahead_group(const char *game_id, int len)
{
	return hash_bytes_extended((const unsigned char *) game_id, len, 0);
}

/*
 * Has the keys of a group looked at now, and fetched at once if they were
 * invalidated.  Returns whether there are any.
 */
bool
wbc_ahead_hurry(Oid dbid, uint64 group)
{
	bool		has = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < list->n; i++)
	{
		Item	   *item = &list->items[i];

		if (item->hash != 0 && item->group == group && item->key.dbid == dbid)
		{
			item->is_urgent = true;
			item->not_before = 0;
			item->tries = 0;
			has = true;
		}
	}
	list->changes += has;
	LWLockRelease(lock);

	if (has)
		wbc_flight_wake_fetcher(dbid);
	return has;
}

/*
 * Takes the keys of a group off the list.  Returns whether there were any.
 */
bool
wbc_ahead_drop(Oid dbid, uint64 group)
{
	bool		had = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < list->n; i++)
	{
		Item	   *item = &list->items[i];

		if (item->hash != 0 && item->group == group && item->key.dbid == dbid)
		{
			item->hash = 0;
			had = true;
		}
	}
	LWLockRelease(lock);
	return had;
}

/*
 * What should be on the list has changed: has the loaders of this process's
 * database start a run of the warmer before its time.
 */
void
wbc_ahead_want_warmer(void)
{
	if (wbc_warmer_state_want())
		wbc_worker_tell_loaders(MyDatabaseId);
}

/*
 * How many keys of a database are on the list.
 */
int64
wbc_ahead_count(Oid dbid)
{
	int64		keys = 0;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < list->n; i++)
		keys += list->items[i].hash != 0 && list->items[i].key.dbid == dbid;
	LWLockRelease(lock);
	return keys;
}

/* ----------------------------------------------------------------
 * For the fetcher
 * ----------------------------------------------------------------
 */

/* What a look at a key's value says, and before it what was known of the key. */
typedef struct Look
{
	TimestampTz seen;			/* before: as in Item */
	bool		is_basis;		/* before: do other keys follow from it? */
	bool		is_urgent;		/* before: as in Item */
	TimestampTz due;			/* when to refresh it */
	TimestampTz cached_at;		/* 0: there is no value */
	uint64		hash;			/* of a basis's value, unless it was seen */
	int64		again;			/* from one try to the next */
} Look;

static void
look_at_value(const WbcEntry *entry, Look *look)
{
	int64		ttl = entry->soft_expires_at - entry->cached_at;
	int64		lead = Min(Max(FETCH_TIMES * entry->fetch_us, ttl / LEAD_LEAST),
						   ttl / LEAD_MOST);

	if (look->is_basis && entry->cached_at != look->seen)
		look->hash = hash_value(wbc_entry_value(entry), entry->value_len);
	look->cached_at = entry->cached_at;
	look->again = Min(lead / 3, AGAIN_FIRST);
	if (wbc_entry_is_current(entry))
		look->due = entry->soft_expires_at - lead;
	else if (!look->is_urgent)
		look->due = entry->fetch_started + ttl / LEAD_MOST;
}

/*
 * Looks at what the memory tier has of a key.  A failed fetch that it remembers
 * is good for as long as it does so.
 */
static void
look_at(const WbcKey *key, TimestampTz now, Look *look)
{
	WbcFound	found;

	look->due = now;
	look->cached_at = 0;
	look->hash = 0;
	look->again = AGAIN_FIRST;
	if (!wbc_memory_peek(key, &found))
		return;
	if (found.entry->kind == WBC_ENTRY_VALUE)
		look_at_value(found.entry, look);
	else if (wbc_entry_is_current(found.entry))
		look->due = wbc_entry_hard_expires_at(found.entry);
	wbc_memory_unpin(found.pointer);
}

static void
start_flight(const WbcKey *key, TimestampTz now)
{
	WbcFlightAsk ask = {
		.key = key,
		.now = now,
		.carrier = WBC_CARRIER_FETCHER,
		.in_advance = true
	};
	int			none;

	if (wbc_flight_join(&ask, &none) == WBC_JOIN_STARTED)
		wbc_warmer_state_count_ahead();
}

/* What is to be done after a look. */
typedef struct Doing
{
	bool		start;			/* a flight */
	bool		want;			/* the warmer */
} Doing;

/*
 * Keeps what was seen of a key, unless the list has another one there by now.
 * Hold the lock.
 */
static Doing
note(Item *item, const WbcKey *key, const Look *look, TimestampTz now)
{
	Doing		doing = {false, false};

	if (item->hash != key->hash || !wbc_key_equal(&item->key, key))
		return doing;
	if (item->basis != 0 && look->hash != 0 && item->basis != look->hash)
	{
		item->basis = look->hash;
		doing.want = true;
	}
	if (item->seen != look->cached_at)
		item->tries = 0;
	item->seen = look->cached_at;
	item->due = look->due;
	if (look->due > now || item->not_before > now)
	{
		item->due = Max(item->due, item->not_before);
		return doing;
	}
	item->not_before = item->due = now + (look->again << Min(item->tries, DOUBLINGS_MAX));
	item->tries++;
	doing.start = true;
	return doing;
}

/*
 * If the i'th item is this database's, and all are to be looked at or it is due,
 * copies its key and what is known of it, and returns true.  *next is set to when
 * it will be due, if that is sooner.
 */
static bool
take_item(int i, bool look_at_all, TimestampTz now, WbcKey *key, Look *look,
		  TimestampTz *next)
{
	Item	   *item = &list->items[i];
	bool		take = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (item->hash != 0 && item->until <= now)
		item->hash = 0;
	if (item->hash != 0 && item->key.dbid == MyDatabaseId)
	{
		take = look_at_all || item->is_urgent || item->due <= now;
		if (take)
		{
			wbc_key_copy(key, &item->key);
			look->seen = item->seen;
			look->is_basis = item->basis != 0;
			look->is_urgent = item->is_urgent;
			item->is_urgent = false;
		}
		*next = Min(*next, take ? next_look : Min(item->due, next_look));
	}
	LWLockRelease(lock);
	return take;
}

static void
run_item(int i, bool look_at_all, TimestampTz now, TimestampTz *next)
{
	Doing		doing;
	WbcKey		key;
	Look		look;

	if (!take_item(i, look_at_all, now, &key, &look, next))
		return;
	look_at(&key, now, &look);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	doing = note(&list->items[i], &key, &look, now);
	*next = Min(*next, Max(list->items[i].due, now));
	LWLockRelease(lock);
	if (doing.want)
		wbc_ahead_want_warmer();
	if (doing.start)
		start_flight(&key, now);
}

/*
 * Is there anything to do?  Returns how many items to go over.
 */
static int
look_for_work(TimestampTz now)
{
	int			n;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	while (list->n > 0 && list->items[list->n - 1].hash == 0)
		list->n--;
	n = list->n;
	if (seen_changes == list->changes && !wbc_is_time(next_run, now, NOTHING_DUE))
		n = 0;
	seen_changes = list->changes;
	LWLockRelease(lock);
	return n;
}

/*
 * Starts what is due of this process's database.  Returns when it should be
 * called again at the latest.
 */
TimestampTz
wbc_ahead_run(TimestampTz now)
{
	bool		look_at_all = wbc_is_time(next_look, now, LOOK_INTERVAL);
	int			n = look_for_work(now);

	if (n == 0)
		return next_run > now ? next_run : now + NOTHING_DUE;

	if (look_at_all)
		next_look = now + LOOK_INTERVAL;
	next_run = now + NOTHING_DUE;
	for (int i = 0; i < n; i++)
		run_item(i, look_at_all, now, &next_run);
	return next_run;
}
