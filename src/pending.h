/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  What the current transaction will do to the cache when it commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_PENDING_H
#define WBC_PENDING_H

#include "generation.h"
#include "reason.h"
#include "wbcache.h"

/* Stripes one transaction may list before it takes everyone's instead. */
#define WBC_PENDING_STRIPES_MAX	100000

/* A value that is stored if and when the transaction commits. */
typedef struct WbcPendingValue
{
	WbcKey		key;
	WbcStamp	stamp;			/* as it was when set() was called */
	const char *value;
	uint32		value_len;
	int64		soft_ttl;		/* microseconds, from the commit */
	int64		hard_ttl;
	uint64		lease;			/* the stamp is this lease's; 0: none */
} WbcPendingValue;

extern void wbc_pending_install_callbacks(void);
extern void wbc_pending_invalidate(uint32 stripe, const WbcNote *note);
extern void wbc_pending_invalidate_everything(WbcReason reason);
extern void wbc_pending_invalidate_matching(const char *glob, int len,
											WbcReason reason);
extern uint64 wbc_pending_token(void);
extern void wbc_pending_set(const WbcPendingValue *value);
extern void wbc_pending_delete(const WbcKey *key);
extern void wbc_pending_forget_endpoint(const char *name);
extern void wbc_pending_renew_endpoint(uint32 stripe);
extern void wbc_pending_change_game(uint64 group, bool over);
extern bool wbc_pending_touches(const WbcKey *key, int n, const uint32 *stripe);
extern const WbcPendingValue *wbc_pending_value(const WbcKey *key);

#endif							/* WBC_PENDING_H */
