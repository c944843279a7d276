/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  How the modules get their pieces of main shared memory.
 *
 * Layer 1.  Modules describe their piece (size, locks, how to initialise it)
 * and know nothing of the hooks; this file knows nothing of the modules.
 * wbcache.c registers them all while the library is being preloaded.  All
 * pieces exist or none: there is no other way to get this memory later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define PIECES_MAX	16

static const WbcShmemPiece *pieces[PIECES_MAX];
static int	npieces = 0;
static bool ready = false;

static shmem_request_hook_type prev_request_hook = NULL;
static shmem_startup_hook_type prev_startup_hook = NULL;

void
wbc_shmem_register(const WbcShmemPiece *piece)
{
	if (npieces >= PIECES_MAX)
		elog(ERROR, "too many pieces of shared memory");
	pieces[npieces++] = piece;
}

static void
request(void)
{
	if (prev_request_hook)
		prev_request_hook();

	for (int i = 0; i < npieces; i++)
	{
		RequestAddinShmemSpace(MAXALIGN(pieces[i]->size()));
		if (pieces[i]->extra != NULL)
			RequestAddinShmemSpace(pieces[i]->extra());
		if (pieces[i]->nlocks > 0)
			RequestNamedLWLockTranche(pieces[i]->name, pieces[i]->nlocks);
	}
}

static void
startup(void)
{
	if (prev_startup_hook)
		prev_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < npieces; i++)
	{
		LWLockPadded *locks = NULL;
		bool		found;
		void	   *place;

		if (pieces[i]->nlocks > 0)
			locks = GetNamedLWLockTranche(pieces[i]->name);
		place = ShmemInitStruct(pieces[i]->name, pieces[i]->size(), &found);
		pieces[i]->attach(place, locks, found);
	}
	LWLockRelease(AddinShmemInitLock);

	ready = true;
}

/*
 * Called once, from _PG_init, while the library is being preloaded.
 */
void
wbc_shmem_install_hooks(void)
{
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

bool
wbc_shmem_is_ready(void)
{
	return ready;
}

/*
 * Throws unless the cache has its shared memory.
 */
void
wbc_shmem_require(void)
{
	if (likely(ready))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("wbcache must be loaded via shared_preload_libraries"),
			 errhint("Add 'wbcache' to shared_preload_libraries in postgresql.conf and restart the server.")));
}
