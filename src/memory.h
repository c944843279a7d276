/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  The memory tier: a fixed block of shared memory with the hottest
 *	  entries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_MEMORY_H
#define WBC_MEMORY_H

#include "generation.h"
#include "port/atomics.h"
#include "stamp.h"
#include "utils/dsa.h"
#include "wbcache.h"

typedef enum WbcEntryKind
{
	WBC_ENTRY_VALUE,
	WBC_ENTRY_ERROR				/* the value is a WbcError: a failed fetch */
} WbcEntryKind;

/*
 * An entry as it lies in the DSA area.  But for the fields marked so it never
 * changes once built; whoever has it pinned may read it without a lock.  A read
 * counts its use and pins the entry by one atomic add: see memory_use.c.  Behind
 * the struct follow, in this order: seen[nstripes], stripe[nstripes], key, ETag,
 * Last-Modified, value.
 */
typedef struct WbcEntry
{
	pg_atomic_uint64 refs;		/* changes: uses (upper half), and pins, the
								 * slot's own included */
	pg_atomic_uint64 refresh_at;	/* changes: no refresh is due before */
	pg_atomic_uint64 hard_expires_at;	/* changes: when a refresh fails */
	TimestampTz soft_expires_at;
	TimestampTz cached_at;		/* when the value was known to be good */
	Oid			dbid;
	Oid			scope;
	Oid			loader;
	uint32		value_len;
	uint16		key_len;
	uint8		kind;			/* WbcEntryKind */
	uint8		nstripes;
	uint8		etag_len;
	uint8		modified_len;
	uint32		size;			/* of the whole allocation */
	pg_atomic_uint32 used;		/* changes: since the clock last came by */
	uint64		hash;			/* of the key */
	TimestampTz fetch_started;
	int64		fetch_us;		/* how long the fetch took */
	uint64		source;			/* hash of the URL: the validators are good
								 * for no other */
	uint64		seen[FLEXIBLE_ARRAY_MEMBER];	/* changes: that of the globs; see
											 * wbc_stamp_catch_up() */
} WbcEntry;

static inline const uint32 *
wbc_entry_stripes(const WbcEntry *entry)
{
	return (const uint32 *) (entry->seen + entry->nstripes);
}

static inline const char *
wbc_entry_key(const WbcEntry *entry)
{
	return (const char *) (wbc_entry_stripes(entry) + entry->nstripes);
}

static inline const char *
wbc_entry_etag(const WbcEntry *entry)
{
	return wbc_entry_key(entry) + entry->key_len;
}

static inline const char *
wbc_entry_last_modified(const WbcEntry *entry)
{
	return wbc_entry_etag(entry) + entry->etag_len;
}

static inline const char *
wbc_entry_value(const WbcEntry *entry)
{
	return wbc_entry_last_modified(entry) + entry->modified_len;
}

static inline bool
wbc_entry_is_current(const WbcEntry *entry)
{
	const uint32 *stripes = wbc_entry_stripes(entry);

	return likely(wbc_generation_is_current(entry->nstripes, stripes,
											entry->seen)) ||
		wbc_stamp_catch_up(entry->dbid, wbc_entry_key(entry), entry->key_len,
						   entry->nstripes, stripes,
						   unconstify(WbcEntry *, entry)->seen);
}

/* What an entry is built from. */
typedef struct WbcEntryParts
{
	const WbcKey *key;
	const WbcStamp *stamp;
	WbcEntryKind kind;
	const void *value;
	uint32		value_len;
	const char *etag;			/* with its length; NULL: none */
	uint8		etag_len;
	const char *last_modified;	/* likewise */
	uint8		modified_len;
	TimestampTz cached_at;
	TimestampTz soft_expires_at;
	TimestampTz hard_expires_at;
	TimestampTz fetch_started;
	int64		fetch_us;
	uint64		source;
} WbcEntryParts;

/* An entry that the caller has pinned. */
typedef struct WbcFound
{
	WbcEntry   *entry;
	dsa_pointer pointer;
} WbcFound;

static inline TimestampTz
wbc_entry_hard_expires_at(const WbcEntry *entry)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *,
										 &entry->hard_expires_at));
}

/* How often an entry was used. */
typedef struct WbcUse
{
	uint32		uses;			/* those long ago count less */
	WbcKey		key;
} WbcUse;

/* Most of them in one bucket. */
#define WBC_USES_MAX	8

/* X(name, description): what there is, in bytes; in entries; what has happened */
#define WBC_MEMORY_BYTES(X) \
	X(size, "bytes of shared memory (wbcache.memory_size), index included") \
	X(used, "bytes held by entries")
#define WBC_MEMORY_GAUGES(X) \
	X(slots, "entries that the index has room for") \
	X(entries, "entries there are, remembered failures included")
#define WBC_MEMORY_COUNTERS(X) \
	X(stores, "entries stored") \
	X(evictions, "entries that had to make room for others") \
	X(refused, "values for which no room could be made")

#define WBC_MEMORY_FIELD(name, description) uint64 name;

typedef struct WbcMemoryInfo
{
	WBC_MEMORY_BYTES(WBC_MEMORY_FIELD)
	WBC_MEMORY_GAUGES(WBC_MEMORY_FIELD)
	WBC_MEMORY_COUNTERS(WBC_MEMORY_FIELD)
} WbcMemoryInfo;

extern void wbc_memory_register(void);
extern void wbc_memory_attach(void);
extern Size wbc_memory_value_limit(void);

extern void wbc_memory_prefetch(const WbcKey *key);
extern bool wbc_memory_find(const WbcKey *key, WbcFound *found);
extern bool wbc_memory_peek(const WbcKey *key, WbcFound *found);
extern void wbc_memory_count_use(dsa_pointer pointer);
extern bool wbc_memory_claim_refresh(WbcEntry *entry, TimestampTz now,
									 TimestampTz until);
extern WbcEntry *wbc_memory_entry(dsa_pointer pointer);
extern void wbc_memory_unpin(dsa_pointer pointer);

extern dsa_pointer wbc_memory_build(const WbcEntryParts *parts);
extern bool wbc_memory_store(dsa_pointer pointer, bool dirty);
extern bool wbc_memory_extend(const WbcKey *key, int64 by, int64 max_stale,
							  bool even_invalidated, TimestampTz now,
							  TimestampTz refresh_at);
extern void wbc_memory_remove(const WbcKey *key);
extern void wbc_memory_key(const WbcEntry *entry, WbcKey *key);

/* for the table tier */
extern uint64 wbc_memory_count_dirty(void);
extern bool wbc_memory_dirt_is_urgent(void);
extern int	wbc_memory_collect_dirty(Oid dbid, uint32 *cursor, WbcFound *out,
									 int max);
extern void wbc_memory_mark_clean(const WbcEntry *entry,
								  TimestampTz hard_expires_at);

/* for the hot keys */
extern uint32 wbc_memory_aged(uint32 uses, int64 ages);
extern int	wbc_memory_collect_uses(Oid dbid, uint32 *cursor, int ages,
									uint32 above, WbcUse *out);

extern void wbc_memory_info(WbcMemoryInfo *info);

#endif							/* WBC_MEMORY_H */
