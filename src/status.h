/*-------------------------------------------------------------------------
 *
 * status.h
 *	  What a feed's word for the state of a game means.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_STATUS_H
#define WBC_STATUS_H

extern const char *wbc_status_classify(const char *word, int len);
extern bool wbc_status_is_off(const char *word, int len);

#endif							/* WBC_STATUS_H */
