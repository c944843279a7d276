/*-------------------------------------------------------------------------
 *
 * reason.h
 *	  Why something was invalidated.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_REASON_H
#define WBC_REASON_H

/* X(label): the labels of wbcache.invalidation_reason, in order */
#define WBC_EACH_REASON(X) \
	X(STATUS_CHANGE) \
	X(ODDS_MOVEMENT) \
	X(CANCELLED) \
	X(POSTPONED) \
	X(MANUAL) \
	X(SIDEBAR_REFRESH)

#define WBC_REASON_SYMBOL(label) WBC_REASON_##label,

typedef enum WbcReason
{
	WBC_EACH_REASON(WBC_REASON_SYMBOL)
	WBC_REASONS					/* how many there are */
} WbcReason;

#endif							/* WBC_REASON_H */
