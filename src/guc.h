/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  The settings, all of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_GUC_H
#define WBC_GUC_H

#include "nodes/pg_list.h"
#include "wbcache.h"

extern int	wbc_guc_memory_size;	/* kB */
extern int	wbc_guc_max_value_size; /* kB */
extern int	wbc_guc_max_flights;
extern int	wbc_guc_max_wait;		/* ms */
extern int	wbc_guc_loaders;		/* in each database */
extern int	wbc_guc_sidebar_alert_time; /* ms */
extern int	wbc_guc_warmer_budget;	/* requests a run */
extern int	wbc_guc_warmer_ahead;	/* ms */
extern int	wbc_guc_warmer_categories;	/* of a fixture */
extern char *wbc_guc_warmer_sportsbooks;	/* list */
extern int	wbc_guc_alert_rate;		/* a minute; 0: no warning */
extern double wbc_guc_odds_threshold;	/* percent */
extern char *wbc_guc_notify_channel;	/* empty: none */
extern int	wbc_guc_hot_keys;	/* in each database; 0: none */
extern int	wbc_guc_hot_keys_interval;	/* ms */

extern void wbc_guc_define(void);
extern List *wbc_guc_database_list(void);
extern bool wbc_guc_lists_database(const char *name);

#endif							/* WBC_GUC_H */
