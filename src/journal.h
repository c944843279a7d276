/*-------------------------------------------------------------------------
 *
 * journal.h
 *	  What was invalidated: counters, the rate, and the latest events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_JOURNAL_H
#define WBC_JOURNAL_H

#include "datatype/timestamp.h"
#include "reason.h"
#include "wbcache.h"

/* Events that are remembered, over all databases. */
#define WBC_EVENTS_MAX		1000

/* Longest name of what was invalidated, in bytes. */
#define WBC_WHAT_MAX		512

/* Events of one transaction for each reason and target, before it sums up. */
#define WBC_EVENTS_EACH		16
#define WBC_NOTES_MAX		(WBC_EVENTS_EACH * WBC_REASONS * WBC_TARGETS)

/* What one transaction has invalidated. */
typedef struct WbcTally
{
	uint64		count[WBC_REASONS][WBC_TARGETS];
	int			nnotes;			/* those that get an event each */
	WbcNote		note[WBC_NOTES_MAX];
} WbcTally;

/* One event.  It stands for many where what is empty and count above 1. */
typedef struct WbcEvent
{
	uint64		number;			/* in its database, from 1 */
	TimestampTz at;
	Oid			dbid;
	WbcReason	reason;
	WbcTarget	target;
	uint64		count;
	int			len;
	char		what[WBC_WHAT_MAX];
} WbcEvent;

/* X(name, description): what is shown of a database; by target, then by reason */
#define WBC_JOURNAL_TARGETS(X) \
	X(keys, "invalidations of keys, delete() included") \
	X(tags, "invalidations of tags, and of endpoints that were changed or dropped") \
	X(patterns, "invalidations of patterns") \
	X(everything, "invalidations of everything: by clear(), TRUNCATE, or a transaction with too many to be listed")
#define WBC_JOURNAL_REASONS(X) \
	X(status_change, "invalidations because a game's status changed") \
	X(odds_movement, "invalidations because odds moved") \
	X(cancelled, "invalidations because a game was cancelled") \
	X(postponed, "invalidations because a game was postponed") \
	X(manual, "invalidations by calls that gave no other reason") \
	X(sidebar_refresh, "invalidations because a sidebar changed")
#define WBC_JOURNAL_COUNTERS(X) \
	X(rows_purged, "rows of wbcache.entry removed because they were invalid or expired")
#define WBC_JOURNAL_GAUGES(X) \
	X(per_minute, "invalidations within the last 60 s") \
	X(threshold, "wbcache.invalidation_alert_rate; 0: no alert")

/* Counters of a database. */
typedef struct WbcJournalInfo
{
	uint64		by_reason[WBC_REASONS];
	uint64		by_target[WBC_TARGETS];
	uint64		rows_purged;
	uint64		per_minute;
	uint64		events;			/* so far */
} WbcJournalInfo;

extern void wbc_journal_register(void);
extern void wbc_journal_prepare(void);
extern void wbc_journal_write(const WbcTally *tally, TimestampTz now);
extern void wbc_journal_count_purged(uint64 rows);
extern void wbc_journal_info(TimestampTz now, WbcJournalInfo *info);
extern void wbc_journal_reset(void);
extern int	wbc_journal_read(uint64 after, WbcEvent *events, int max,
							 uint64 *lost);

/* for the worker that sends and warns */
extern uint64 wbc_journal_epoch(void);
extern bool wbc_journal_has_unsent(uint64 *sent);
extern void wbc_journal_set_sent(uint64 number);
extern bool wbc_journal_claim_warning(uint64 limit, TimestampTz now,
									  uint64 *rate);

extern const char *wbc_journal_reason_name(WbcReason reason);
extern const char *wbc_journal_target_name(WbcTarget target);

#endif							/* WBC_JOURNAL_H */
