/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  How the modules get their pieces of main shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_SHMEM_H
#define WBC_SHMEM_H

#include "storage/lwlock.h"
#include "wbcache.h"

/*
 * One module's piece.  Must live as long as the process.
 *
 * size() is called in the postmaster when the settings are known; so is
 * extra(), if given: what attach() will allocate on its own.  attach()
 * is called once in every process that starts from the postmaster, with
 * AddinShmemInitLock held; found says that the piece was initialised before.
 */
typedef struct WbcShmemPiece
{
	const char *name;			/* also of its LWLock tranche */
	int			nlocks;
	Size		(*size) (void);
	Size		(*extra) (void);
	void		(*attach) (void *place, LWLockPadded *locks, bool found);
} WbcShmemPiece;

extern void wbc_shmem_register(const WbcShmemPiece *piece);
extern void wbc_shmem_install_hooks(void);
extern bool wbc_shmem_is_ready(void);
extern void wbc_shmem_require(void);

#endif							/* WBC_SHMEM_H */
