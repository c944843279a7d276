/*-------------------------------------------------------------------------
 *
 * table.h
 *	  The table tier: the table wbcache.entry.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_TABLE_H
#define WBC_TABLE_H

#include "generation.h"
#include "memory.h"
#include "wbcache.h"

/* A row, in the memory context of who asked for it. */
typedef struct WbcTableRow
{
	WbcStamp	stamp;
	text	   *value;
	text	   *etag;
	text	   *last_modified;
	TimestampTz cached_at;
	TimestampTz soft_expires_at;
	TimestampTz hard_expires_at;
	TimestampTz fetch_started;
	int64		fetch_us;
	uint64		source;
} WbcTableRow;

/* What goes with an entry into its row. */
typedef struct WbcTableNote
{
	const char *endpoint;		/* NULL: none */
	int			ntags;
	char	  **tags;
} WbcTableNote;

extern bool wbc_table_find(const WbcKey *key, WbcTableRow *row);
extern void wbc_table_parts(const WbcKey *key, const WbcTableRow *row,
							WbcEntryParts *parts);
extern bool wbc_table_exists(void);
extern bool wbc_table_lock(void);
extern bool wbc_table_write(const WbcEntry *entry, const WbcTableNote *note);
extern uint64 wbc_table_purge(int most);
extern bool wbc_table_wants_vacuum(void);
extern void wbc_table_vacuum(void);

#endif							/* WBC_TABLE_H */
