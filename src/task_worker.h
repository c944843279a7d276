/*-------------------------------------------------------------------------
 *
 * task_worker.h
 *	  The process of one run of a task.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_TASK_WORKER_H
#define WBC_TASK_WORKER_H

#include "wbcache.h"

extern PGDLLEXPORT void wbc_task_main(Datum arg);

#endif							/* WBC_TASK_WORKER_H */
