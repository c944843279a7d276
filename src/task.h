/*-------------------------------------------------------------------------
 *
 * task.h
 *	  Tasks: rows of wbcache.task, and what becomes of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_TASK_H
#define WBC_TASK_H

#include "postmaster/bgworker.h"
#include "wbcache.h"

/* Names one run of one task, so that whoever has asked for it can find it. */
typedef struct WbcTaskOrder
{
	Oid			dbid;
	Oid			owner;
	int64		run_id;
	bool		by_clock;		/* it is one of few at a time */
	NameData	name;
} WbcTaskOrder;

StaticAssertDecl(sizeof(WbcTaskOrder) <= BGW_EXTRALEN,
				 "an order must fit into a worker's arguments");

/* Most runs at a time that the clock has started, in a database. */
#define WBC_TASK_RUNS_MAX	4

/* How a run has ended; the labels in wbcache.task.last_result. */
typedef enum WbcTaskResult
{
	WBC_TASK_RUNNING,
	WBC_TASK_SUCCEEDED,
	WBC_TASK_FAILED,
	WBC_TASK_INTERRUPTED
} WbcTaskResult;

/* A row, as far as running it needs. */
typedef struct WbcTask
{
	NameData	name;
	Oid			owner;
	char	   *function;		/* signature, with schema */
	int64		interval;		/* microseconds */
	int64		timeout;		/* microseconds */
	bool		by_worker;		/* else: by pg_cron */
	int64		cron_job;		/* 0: none */
	bool		running;		/* says the row */
	TimestampTz last_start;		/* 0: never */
	TimestampTz next_start;		/* 0: not by the worker */
	int64		run_id;			/* of the last run; 0: none */
	int			failures;		/* in a row, the last run included */
	bool		uncommitted;	/* written by the current transaction */
} WbcTask;

extern bool wbc_task_find(const char *name, WbcTask *task);
extern int	wbc_task_list_running(WbcTask *tasks, int most);
extern int	wbc_task_claim_due(WbcTask *tasks, int most, TimestampTz now,
							   TimestampTz again);
extern TimestampTz wbc_task_next_due(TimestampTz never);
extern char *wbc_task_last_detail(const char *name);

extern bool wbc_task_try_lock(const char *name, bool for_session);
extern bool wbc_task_try_place(void);

extern bool wbc_task_mark_started(const WbcTaskOrder *order, TimestampTz now);
extern void wbc_task_mark_due(const char *name, TimestampTz at);
extern bool wbc_task_hurry(const char *name, TimestampTz now);
extern void wbc_task_mark_ended(const char *name, WbcTaskResult result,
								const char *detail, TimestampTz now);

extern BackgroundWorkerHandle *wbc_task_start(const WbcTask *task, int64 run_id,
											  bool by_clock);
extern int64 wbc_task_make_run_id(void);

#endif							/* WBC_TASK_H */
