/*-------------------------------------------------------------------------
 *
 * pending_end.c
 *	  What the end of a transaction does to the cache.
 *
 * Layer 3, a part of pending.c, where the list is made.
 *
 *		pre-commit	every stripe on the list: in-progress + 1
 *		commit		every stripe: generation + 1, in-progress - 1; then
 *					the deletes and sets, in their order; then the journal
 *		abort		every stripe: in-progress - 1, if pre-commit was reached
 *
 * and the same for globs, each of which has its place in their log.
 *
 * The commit callback can't throw: the core would turn that into a PANIC.  All
 * that it needs was allocated when the operations were listed, and nothing that
 * it calls ever throws.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "ahead.h"
#include "flight.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "pending_list.h"
#include "replication/logicalworker.h"
#include "utils/timestamp.h"

/* ----------------------------------------------------------------
 * Globs
 * ----------------------------------------------------------------
 */

/*
 * Where the log has no place for a glob, everyone's stripe takes it in.
 */
void
wbc_pending_begin_glob(int glob)
{
	const Op   *op = &wbc_pending.ops[wbc_pending.glob_op[glob]];

	if (wbc_glob_begin(MyDatabaseId, op->object, op->len,
					   &wbc_pending.hold[glob]) ||
		wbc_pending.everyone_instead)
		return;
	wbc_generation_begin(WBC_STRIPE_EVERYONE);
	wbc_pending.everyone_instead = true;
}

void
wbc_pending_abort_glob(int glob)
{
	if (wbc_pending.hold[glob].slot >= 0)
		wbc_glob_abort(&wbc_pending.hold[glob]);
}

/* ----------------------------------------------------------------
 * All that is on the list
 * ----------------------------------------------------------------
 */

/* An operation that is the first mention of its stripe stands for it. */
static inline bool
is_first_mention(const Op *op)
{
	return wbc_pending_is_mention(op) && op->previous < 0;
}

static void
begin_all(void)
{
	for (int i = 0; i < wbc_pending.nops; i++)
		if (is_first_mention(&wbc_pending.ops[i]))
			wbc_generation_begin(wbc_pending.ops[i].stripe);
	for (int i = 0; i < wbc_pending.nops; i++)
		if (wbc_pending.ops[i].kind == OP_RENEW_ENDPOINT)
			wbc_generation_renew(wbc_pending.ops[i].stripe);
	for (int i = 0; i < wbc_pending.nglobs; i++)
		wbc_pending_begin_glob(i);
	wbc_pending.begun = true;
}

static void
abort_all(void)
{
	for (int i = 0; i < wbc_pending.nops; i++)
		if (is_first_mention(&wbc_pending.ops[i]))
			wbc_generation_abort(wbc_pending.ops[i].stripe);
	for (int i = 0; i < wbc_pending.nglobs; i++)
		wbc_pending_abort_glob(i);
	if (wbc_pending.everyone_instead)
		wbc_generation_abort(WBC_STRIPE_EVERYONE);
}

static void
commit_all(void)
{
	for (int i = 0; i < wbc_pending.nops; i++)
		if (is_first_mention(&wbc_pending.ops[i]))
			wbc_pending_mention(wbc_pending.ops[i].stripe)->before =
				wbc_generation_commit(wbc_pending.ops[i].stripe);
	for (int i = 0; i < wbc_pending.nglobs; i++)
		if (wbc_pending.hold[i].slot >= 0)
			wbc_glob_commit(&wbc_pending.hold[i]);
	if (wbc_pending.everyone_instead)
		(void) wbc_generation_commit(WBC_STRIPE_EVERYONE);
}

/* ----------------------------------------------------------------
 * Values
 * ----------------------------------------------------------------
 */

/*
 * Moves a value's stamp past this transaction's own commit.  Returns false if
 * somebody else's invalidation was committed since set() was called.
 */
static bool
carry_over_commit(const WbcKey *key, WbcStamp *stamp)
{
	for (int i = 0; i < stamp->n; i++)
	{
		const Mention *mention = wbc_pending_mention(stamp->stripe[i]);

		if (stamp->stripe[i] == WBC_STRIPE_GLOBS &&
			!wbc_glob_carry(key, wbc_pending.hold, wbc_pending.nglobs,
							&stamp->seen[i]))
			return false;
		if (mention == NULL)
			continue;
		if (!wbc_generation_same(mention->before, stamp->seen[i]))
			return false;
		stamp->seen[i] = wbc_generation_after_commit(mention->before);
	}
	return true;
}

/*
 * Makes the entry of a value that is still good, pinned.
 */
static dsa_pointer
build_value(int op, TimestampTz now)
{
	WbcPendingValue *value = wbc_pending.ops[op].object;
	WbcEntryParts parts = {
		.key = &value->key,
		.stamp = &value->stamp,
		.kind = WBC_ENTRY_VALUE,
		.value = value->value,
		.value_len = value->value_len,
		.cached_at = now,
		.soft_expires_at = now + value->soft_ttl,
		.hard_expires_at = now + value->hard_ttl,
		.fetch_started = now
	};

	if (!wbc_pending_set_survives(op) ||
		!carry_over_commit(&value->key, &value->stamp))
		return InvalidDsaPointer;
	return wbc_memory_build(&parts);
}

static void
store_value(int op, TimestampTz now)
{
	const WbcPendingValue *value = wbc_pending.ops[op].object;
	dsa_pointer pointer = build_value(op, now);

	if (!DsaPointerIsValid(pointer))
	{
		wbc_flight_lose_lease(&value->key, value->lease);
		return;
	}
	(void) wbc_memory_store(pointer, true);
	if (value->lease != 0)
		wbc_flight_land_lease(&value->key, value->lease, pointer);
	else
		wbc_memory_unpin(pointer);
}

static void
change_game(const PendingGame *game)
{
	if (game->over ? wbc_ahead_drop(MyDatabaseId, game->group) :
		wbc_ahead_hurry(MyDatabaseId, game->group))
		wbc_ahead_want_warmer();
}

static void
apply_all(TimestampTz now)
{
	for (int i = 0; i < wbc_pending.nops; i++)
		switch (wbc_pending.ops[i].kind)
		{
			case OP_INVALIDATE:
			case OP_REPLACE:
			case OP_GLOB:
				break;
			case OP_DELETE:
				wbc_memory_remove(wbc_pending.ops[i].object);
				break;
			case OP_SET:
				store_value(i, now);
				break;
			case OP_FORGET_ENDPOINT:
				wbc_metrics_endpoint_forget(MyDatabaseId,
											wbc_pending.ops[i].object);
				break;
			case OP_RENEW_ENDPOINT:
				break;
			case OP_CHANGE_GAME:
				change_game(wbc_pending.ops[i].object);
				break;
		}
}

/* ----------------------------------------------------------------
 * The journal
 * ----------------------------------------------------------------
 */

static void
add_to_tally(WbcTally *tally, const Op *op)
{
	if (op->target == WBC_TARGETS)
		return;
	tally->count[op->reason][op->target]++;
	if (op->object != NULL && tally->nnotes < WBC_NOTES_MAX)
	{
		WbcNote    *note = &tally->note[tally->nnotes++];

		note->reason = op->reason;
		note->target = op->target;
		note->len = op->len;
		note->what = op->object;
	}
}

static void
write_journal(TimestampTz now)
{
	static WbcTally tally;

	memset(tally.count, 0, sizeof(tally.count));
	tally.nnotes = 0;
	for (int i = 0; i < wbc_pending.nops; i++)
		switch (wbc_pending.ops[i].kind)
		{
			case OP_INVALIDATE:
			case OP_GLOB:
				add_to_tally(&tally, &wbc_pending.ops[i]);
				break;
			case OP_REPLACE:
			case OP_DELETE:
			case OP_SET:
			case OP_FORGET_ENDPOINT:
			case OP_RENEW_ENDPOINT:
			case OP_CHANGE_GAME:
				break;
		}
	wbc_journal_write(&tally, now);
}

/* ----------------------------------------------------------------
 * The end
 * ----------------------------------------------------------------
 */

static void
commit_list(TimestampTz now)
{
	commit_all();
	apply_all(now);
	if (wbc_pending.ngames >= PENDING_GAMES_MAX)
		wbc_ahead_want_warmer();
	if (wbc_pending.nops > 0)
		write_journal(now);
}

/* The memory itself goes with the transaction. */
static void
forget_list(void)
{
	memset(&wbc_pending, 0, sizeof(wbc_pending));
	wbc_pending_changes++;
}

void
wbc_pending_at_end(XactEvent event, void *arg)
{
	if (wbc_pending.context == NULL)
		return;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			begin_all();
			break;
		case XACT_EVENT_COMMIT:
			commit_list(GetCurrentTimestamp());
			forget_list();
			break;
		case XACT_EVENT_ABORT:
			if (wbc_pending.begun)
				abort_all();
			forget_list();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (wbc_pending.nops > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has invalidated or set cached values"),
						 IsLogicalWorker() ?
						 errhint("Make the subscription without two_phase.") :
						 errhint("Commit the transaction in one phase, or leave the cache out of it.")));
			break;
		case XACT_EVENT_PREPARE:
			forget_list();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}
