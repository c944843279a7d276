/*-------------------------------------------------------------------------
 *
 * watched.h
 *	  Which columns of a user's table mean what.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WATCHED_H
#define WBC_WATCHED_H

#include "commands/trigger.h"
#include "fmgr.h"
#include "odds.h"

/* What a column of a table of events is. */
typedef enum WbcEventColumn
{
	WBC_EVENT_GAME_ID,
	WBC_EVENT_SPORT_ID,
	WBC_EVENT_LEAGUE_ID,
	WBC_EVENT_STATUS,
	WBC_EVENT_STARTS_AT,
	WBC_EVENT_SPORT_NAME,
	WBC_EVENT_LEAGUE_NAME,
	WBC_EVENT_HOME,
	WBC_EVENT_AWAY
} WbcEventColumn;

#define WBC_EVENT_COLUMNS	(WBC_EVENT_AWAY + 1)
#define WBC_EVENT_REQUIRED	(WBC_EVENT_STARTS_AT + 1)

/* What a column of a table of odds is. */
typedef enum WbcOddsColumn
{
	WBC_ODDS_GAME_ID,
	WBC_ODDS_VALUE
} WbcOddsColumn;

#define WBC_ODDS_COLUMNS	(WBC_ODDS_VALUE + 1)

/* Names of the columns of events, as arguments and as columns of the view. */
extern const char *const wbc_watched_event_names[WBC_EVENT_COLUMNS];

typedef struct WbcWatchedColumn
{
	AttrNumber	number;			/* 0: the table has none */
	Oid			type;			/* the base type of a domain */
	FmgrInfo	output;
} WbcWatchedColumn;

/*
 * A table's columns.  Backend-local; valid until the next relcache message,
 * so for the call of a trigger.
 */
typedef struct WbcWatched
{
	bool		known;			/* false: a column was dropped */
	WbcWatchedColumn column[WBC_EVENT_COLUMNS];
	double		threshold;		/* odds: in percent; below 0: the setting's */
	WbcOddsMeasure measure;		/* odds */
} WbcWatched;

extern const WbcWatched *wbc_watched_events(const TriggerData *data);
extern const WbcWatched *wbc_watched_odds(const TriggerData *data);
extern char *wbc_watched_text(const WbcWatchedColumn *column,
							  TupleTableSlot *slot);
extern bool wbc_watched_number(const WbcWatchedColumn *column,
							   TupleTableSlot *slot, double *number);

#endif							/* WBC_WATCHED_H */
