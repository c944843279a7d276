/*-------------------------------------------------------------------------
 *
 * invalidate.h
 *	  What is invalidated together, for triggers and the sidebar.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_INVALIDATE_H
#define WBC_INVALIDATE_H

#include "reason.h"
#include "wbcache.h"

/*
 * All of these list what is to be invalid once the current transaction has
 * committed.  None asks for a privilege: triggers invalidate whoever changes
 * the table.  They throw where the library is not preloaded or memory is short.
 * Lengths are in bytes; what can't be a key or a tag is passed over.
 */
extern void wbc_invalidate_tag_for(const char *tag, int len, WbcReason reason);
extern void wbc_invalidate_key_for(const char *key, int len, WbcReason reason);

/* All that belongs to a game; see wbcache.invalidate_game_cache(). */
extern void wbc_invalidate_game(const char *game_id, int len, WbcReason reason);

/*
 * The same when the status has changed, the odds under these two statuses
 * included, whatever they are; the new one says the reason.  NULL: none.  Returns
 * false, and invalidates nothing, when they are the same.
 */
extern bool wbc_invalidate_status_change(const char *game_id, int len,
										 const char *old, const char *new);

/* For a change in a league of a sport; NULL: in any. */
extern void wbc_invalidate_sidebar(const char *sport, const char *league,
								   WbcReason reason);

/* For a change of anything that sidebars are made of; not of their values. */
extern void wbc_invalidate_source(void);
extern uint32 wbc_invalidate_source_stripe(void);

/* For every game and every sidebar, such as after a TRUNCATE. */
extern void wbc_invalidate_everything(WbcReason reason);

#endif							/* WBC_INVALIDATE_H */
