/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Which of our processes should run, and which do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_WORKER_H
#define WBC_WORKER_H

#include "wbcache.h"

#define WBC_WORKERS_MAX		256

typedef enum WbcWorkerKind
{
	WBC_WORKER_LAUNCHER,
	WBC_WORKER_FETCHER,
	WBC_WORKER_LOADER,
	WBC_WORKER_TASK				/* there only while it runs */
} WbcWorkerKind;

typedef struct WbcWorker
{
	bool		in_use;
	WbcWorkerKind kind;
	Oid			dbid;			/* InvalidOid: the launcher's */
	int			number;			/* among those of its kind and database */
	pid_t		pid;			/* 0: not running */
	int			procno;			/* of that process */
	TimestampTz started_at;		/* the last time */
	int			starts;
	bool		on_duty;		/* of its database's loaders, does what only
								 * one may do at a time */
	bool		told;			/* a loader: look at the tasks */
	TimestampTz not_before;		/* it should not be started before */
} WbcWorker;

extern void wbc_worker_register(void);
extern const char *wbc_worker_kind_name(WbcWorkerKind kind);
extern bool wbc_worker_is_held(const WbcWorker *worker, TimestampTz now);
extern void wbc_worker_begin_time_limit(int64 microseconds);
extern void wbc_worker_end_time_limit(void);
extern int	wbc_worker_slot(WbcWorkerKind kind, Oid dbid, int number);
extern bool wbc_worker_enter(int slot, TimestampTz now);
extern void wbc_worker_connect(int slot);
extern void wbc_worker_enter_task(Oid dbid, TimestampTz now);
extern bool wbc_worker_begin_duty(void);
extern void wbc_worker_end_duty(void);
extern void wbc_worker_hold(int slot, TimestampTz until);
extern void wbc_worker_forget(int slot);
extern void wbc_worker_read(int slot, WbcWorker *copy);
extern void wbc_worker_wake_launcher(void);
extern void wbc_worker_wake_loaders(Oid dbid);
extern void wbc_worker_tell_loaders(Oid dbid);
extern bool wbc_worker_was_told(void);
extern void wbc_worker_take_note(void);
extern void wbc_worker_stop_for_drop(Oid dbid, TimestampTz now);

#endif							/* WBC_WORKER_H */
