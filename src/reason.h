/*-------------------------------------------------------------------------
 *
 * reason.h
 *	  Why something was invalidated, and what it was.
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

/* X(symbol, label): what can be invalidated */
#define WBC_EACH_TARGET(X) \
	X(KEY, "key") \
	X(OWN_KEY, "own key")		/* of get_with_swr() */ \
	X(TAG, "tag") \
	X(PATTERN, "pattern") \
	X(EVERYTHING, "everything")

#define WBC_TARGET_SYMBOL(symbol, label) WBC_TARGET_##symbol,

typedef enum WbcTarget
{
	WBC_EACH_TARGET(WBC_TARGET_SYMBOL)
	WBC_TARGETS					/* how many there are */
} WbcTarget;

/* One invalidation, in words; what points to len bytes, or is NULL. */
typedef struct WbcNote
{
	WbcReason	reason;
	WbcTarget	target;
	int			len;
	const char *what;
} WbcNote;

#endif							/* WBC_REASON_H */
