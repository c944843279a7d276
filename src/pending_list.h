/*-------------------------------------------------------------------------
 *
 * pending_list.h
 *	  What pending.c and pending_end.c share, and nobody else may include.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_PENDING_LIST_H
#define WBC_PENDING_LIST_H

#include "access/xact.h"
#include "glob.h"
#include "journal.h"
#include "pending.h"
#include "utils/hsearch.h"

/* Globs one transaction may list before it takes everyone's stripe instead. */
#define PENDING_GLOBS_MAX	16

/*
 * Changed games of one transaction that are looked up in the list of ahead.c, each
 * of which takes a look at the whole list; for the others the warmer runs, too.
 */
#define PENDING_GAMES_MAX	64

typedef enum OpKind
{
	OP_INVALIDATE,
	OP_REPLACE,					/* a set() is about to follow */
	OP_GLOB,
	OP_DELETE,
	OP_SET,
	OP_FORGET_ENDPOINT,
	OP_RENEW_ENDPOINT,
	OP_CHANGE_GAME
} OpKind;

typedef struct Op
{
	OpKind		kind;
	int			nest_level;		/* of the subtransaction it belongs to */
	uint32		stripe;			/* OP_INVALIDATE, OP_REPLACE, OP_RENEW_ENDPOINT */
	int			previous;		/* last mention of the stripe before this one,
								 * or -1; always -1 for OP_REPLACE */
	uint8		reason;			/* OP_INVALIDATE, OP_GLOB: WbcReason */
	uint8		target;			/* likewise: WbcTarget, or WBC_TARGETS: not to
								 * be counted */
	uint16		len;			/* of a text object */
	void	   *object;			/* WbcKey, WbcPendingValue, PendingGame, or
								 * text: a name, a glob, what is invalidated
								 * or NULL */
} Op;

/* For ahead.c. */
typedef struct PendingGame
{
	uint64		group;
	bool		over;
} PendingGame;

/* The last mention of a stripe. */
typedef struct Mention
{
	uint32		stripe;			/* hash key; must be first */
	int			op;
	uint64		before;			/* at commit: what the stripe held before */
} Mention;

/* The list of the current transaction; all zero where there is none. */
typedef struct PendingList
{
	MemoryContext context;		/* of all that it points to */
	Op		   *ops;
	int			nops;
	int			size;
	HTAB	   *latest;			/* Mention of each stripe */
	int			nsets;			/* OP_SETs so far */
	int			last_set;		/* index of the last one, if any */
	bool		begun;			/* pre-commit was reached */
	bool		everyone_instead;	/* everyone's stripe was begun for a glob
									 * that the log has no place for */
	int			ngames;			/* OP_CHANGE_GAMEs so far */
	int			nglobs;
	int			glob_op[PENDING_GLOBS_MAX]; /* index of each OP_GLOB */
	WbcGlobHold hold[PENDING_GLOBS_MAX];	/* once begun; slot -1: see
											 * everyone_instead */
	uint8		described[WBC_REASONS][WBC_TARGETS];	/* ops with a text */
} PendingList;

extern PendingList wbc_pending;
extern uint64 wbc_pending_changes;	/* see wbc_pending_token() */

static inline bool
wbc_pending_is_mention(const Op *op)
{
	return op->kind == OP_INVALIDATE || op->kind == OP_REPLACE;
}

extern Mention *wbc_pending_mention(uint32 stripe);
extern bool wbc_pending_set_survives(int op);
extern void wbc_pending_begin_glob(int glob);
extern void wbc_pending_abort_glob(int glob);

extern void wbc_pending_at_end(XactEvent event, void *arg);

#endif							/* WBC_PENDING_LIST_H */
