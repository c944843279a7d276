/*-------------------------------------------------------------------------
 *
 * hotkey_parts.h
 *	  What hotkey.c, hotkey_note.c, hotkey_table.c and hotkey_warmup.c share,
 *	  and nobody else may include.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_HOTKEY_PARTS_H
#define WBC_HOTKEY_PARTS_H

#include "endpoint.h"
#include "hotkey.h"
#include "memory.h"

/* How far the keys of a database have been brought back since the start. */
typedef enum WbcWarmupState
{
	WBC_WARMUP_WAITING,			/* nobody has looked yet */
	WBC_WARMUP_UNDER_WAY,
	WBC_WARMUP_NONE,			/* nothing was missing */
	WBC_WARMUP_DONE,
	WBC_WARMUP_GIVEN_UP
} WbcWarmupState;

#define WBC_HOTKEY_FIELD(name, description) int name;

/* What is known of a database's hot keys in this life of the server. */
typedef struct WbcHotkeys
{
	TimestampTz noted_at;		/* the last time; 0: never */
	TimestampTz note_again_at;
	TimestampTz aged_at;		/* until when the uses in memory have aged */

	WbcWarmupState state;
	int			tries;			/* to begin, that failed */
	TimestampTz not_before;		/* the next one */
	WBC_HOTKEY_GAUGES(WBC_HOTKEY_FIELD)
	TimestampTz started_at;
	TimestampTz progress_at;	/* the last time that one came back */
	TimestampTz ended_at;
} WbcHotkeys;

/* A key with its endpoint. */
typedef struct WbcHotkey
{
	WbcUse		use;
	NameData	endpoint;
} WbcHotkey;

extern bool wbc_hotkey_can_fetch(const WbcKey *key, WbcRoute *route);

extern int	wbc_hotkey_read(WbcHotkey **rows, TimestampTz now);
extern void wbc_hotkey_write(const WbcHotkey *hot, int nhot, int most,
							 TimestampTz now);

extern TimestampTz wbc_hotkey_note(WbcHotkeys *state, TimestampTz now);
extern void wbc_hotkey_forget_note(void);
extern TimestampTz wbc_hotkey_warm_up(WbcHotkeys *state, TimestampTz now);
extern void wbc_hotkey_forget_warmup(void);

#endif							/* WBC_HOTKEY_PARTS_H */
