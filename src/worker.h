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

/* The launcher and a fetcher for each of up to 64 databases. */
#define WBC_WORKERS_MAX		65

typedef enum WbcWorkerKind
{
	WBC_WORKER_LAUNCHER,
	WBC_WORKER_FETCHER
} WbcWorkerKind;

typedef struct WbcWorker
{
	bool		in_use;
	WbcWorkerKind kind;
	Oid			dbid;			/* of a fetcher */
	pid_t		pid;			/* 0: not running */
	int			procno;			/* of that process */
	TimestampTz started_at;		/* the last time */
	int			starts;
	TimestampTz not_before;		/* it should not be started before */
} WbcWorker;

extern void wbc_worker_register(void);
extern int	wbc_worker_slot(WbcWorkerKind kind, Oid dbid);
extern bool wbc_worker_enter(int slot, TimestampTz now);
extern void wbc_worker_hold(int slot, TimestampTz until);
extern void wbc_worker_forget(int slot);
extern void wbc_worker_read(int slot, WbcWorker *copy);
extern void wbc_worker_wake_launcher(void);
extern void wbc_worker_stop_for_drop(Oid dbid, TimestampTz now);

#endif							/* WBC_WORKER_H */
