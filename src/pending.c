/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  What the current transaction will do to the cache when it commits.
 *
 * Layer 3.  An ordered list of operations, local to the backend and gone with
 * the transaction.  Nothing on it has any effect on others before pre-commit;
 * what happens from then on is in pending_end.c.
 *
 * Operations of a subtransaction are always at the tail of the list: rolling
 * back to a savepoint cuts them off, releasing it gives them to its parent.
 *
 * Order matters between set() and what invalidates: a value survives the
 * invalidations that the transaction made before it, not those made after it,
 * and nobody else's.  So a stripe or glob that is listed already is listed
 * again only if a set() came in between; "latest" knows the last mention of
 * each stripe.  A set() lists the stripe of its key as well, but that does no
 * harm to values set before it: they are of other keys, or replaced.
 *
 * Each operation that invalidates says why and what, for the journal; so those
 * that were cut off are not counted.  The name of what is invalidated is kept
 * for the first few of each kind only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "key.h"
#include "mb/pg_wchar.h"
#include "memory.h"
#include "pending.h"
#include "pending_list.h"
#include "utils/memutils.h"

PendingList wbc_pending;
uint64		wbc_pending_changes = 1;

/* ----------------------------------------------------------------
 * Listing
 * ----------------------------------------------------------------
 */

static void
make_list(void)
{
	HASHCTL		info = {.keysize = sizeof(uint32), .entrysize = sizeof(Mention)};
	MemoryContext mine;

	wbc_journal_prepare();
	mine = AllocSetContextCreate(TopTransactionContext, "wbcache pending",
								 ALLOCSET_DEFAULT_SIZES);
	info.hcxt = mine;
	wbc_pending.size = 64;
	wbc_pending.ops = MemoryContextAlloc(mine, wbc_pending.size * sizeof(Op));
	wbc_pending.latest = hash_create("wbcache pending stripes", 256, &info,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	wbc_pending.context = mine;
}

/*
 * Makes sure that one more operation fits.  All that can throw is done before
 * the list is touched.
 */
static void
reserve_op(void)
{
	if (wbc_pending.context == NULL)
		make_list();
	if (wbc_pending.nops >= wbc_pending.size)
	{
		wbc_pending.ops = repalloc_huge(wbc_pending.ops,
										(Size) wbc_pending.size * 2 * sizeof(Op));
		wbc_pending.size *= 2;
	}
}

static Op *
append_op(OpKind kind, void *object)
{
	Op		   *op = &wbc_pending.ops[wbc_pending.nops++];

	op->kind = kind;
	op->nest_level = GetCurrentTransactionNestLevel();
	op->object = object;
	op->stripe = 0;
	op->previous = -1;
	op->target = WBC_TARGETS;
	op->len = 0;
	return op;
}

Mention *
wbc_pending_mention(uint32 stripe)
{
	return hash_search(wbc_pending.latest, &stripe, HASH_FIND, NULL);
}

static inline bool
was_before_last_set(int op)
{
	return wbc_pending.nsets > 0 && op < wbc_pending.last_set;
}

/*
 * What the note is about, in the list's memory; NULL when there is no need for
 * it any more.
 */
static char *
copy_description(const WbcNote *note)
{
	char	   *copy;

	if (note == NULL || note->what == NULL ||
		wbc_pending.described[note->reason][note->target] >= WBC_EVENTS_EACH)
		return NULL;
	copy = MemoryContextAlloc(wbc_pending.context, note->len + 1);
	memcpy(copy, note->what, note->len);
	return copy;
}

static void
describe(Op *op, const WbcNote *note)
{
	op->reason = note->reason;
	op->target = note->target;
	if (op->object == NULL)
		return;
	op->len = pg_mbcliplen(op->object, note->len, WBC_WHAT_MAX);
	wbc_pending.described[note->reason][note->target]++;
}

static bool
is_full(void)
{
	return hash_get_num_entries(wbc_pending.latest) >= WBC_PENDING_STRIPES_MAX;
}

/*
 * A note of NULL: nothing that anybody has to hear of.
 */
static void
list_stripe(OpKind kind, uint32 stripe, const WbcNote *note)
{
	WbcNote		everything = {.target = WBC_TARGET_EVERYTHING};
	Mention    *mention;
	char	   *what;
	Op		   *op;
	bool		found;

	reserve_op();
	if (is_full() && wbc_pending_mention(stripe) == NULL)
	{
		stripe = WBC_STRIPE_EVERYONE;
		everything.reason = note != NULL ? note->reason : WBC_REASON_MANUAL;
		note = &everything;
	}
	mention = wbc_pending_mention(stripe);
	if (mention != NULL &&
		(kind == OP_REPLACE || !was_before_last_set(mention->op)))
		return;

	what = copy_description(note);
	mention = hash_search(wbc_pending.latest, &stripe, HASH_ENTER, &found);
	op = append_op(kind, what);
	if (note != NULL)
		describe(op, note);
	op->stripe = stripe;
	op->previous = found ? mention->op : -1;
	mention->op = wbc_pending.nops - 1;
	if (wbc_pending.begun && !found)
		wbc_generation_begin(stripe);
}

/*
 * Lists a stripe: whatever depends on it is invalid once this transaction has
 * committed.  The note, if there is one, is for the journal.
 */
void
wbc_pending_invalidate(uint32 stripe, const WbcNote *note)
{
	list_stripe(OP_INVALIDATE, stripe, note);
}

void
wbc_pending_invalidate_everything(WbcReason reason)
{
	WbcNote		note = {.reason = reason,.target = WBC_TARGET_EVERYTHING};

	wbc_pending_invalidate(WBC_STRIPE_EVERYONE, &note);
}

/* Is the glob on the list, behind the last set()? */
static bool
is_listed(const char *glob, int len)
{
	for (int i = 0; i < wbc_pending.nglobs; i++)
	{
		const Op   *op = &wbc_pending.ops[wbc_pending.glob_op[i]];

		if (op->len == len && memcmp(op->object, glob, len) == 0 &&
			!was_before_last_set(wbc_pending.glob_op[i]))
			return true;
	}
	return false;
}

/*
 * Lists a glob of at most WBC_GLOB_MAX bytes: all keys of this database that
 * match it are invalid once this transaction has committed.
 */
void
wbc_pending_invalidate_matching(const char *glob, int len, WbcReason reason)
{
	char	   *copy;
	Op		   *op;

	reserve_op();
	if (is_listed(glob, len))
		return;
	if (wbc_pending.nglobs >= PENDING_GLOBS_MAX)
	{
		wbc_pending_invalidate_everything(reason);
		return;
	}

	copy = MemoryContextAlloc(wbc_pending.context, len + 1);
	memcpy(copy, glob, len);
	op = append_op(OP_GLOB, copy);
	op->len = len;
	op->reason = reason;
	op->target = WBC_TARGET_PATTERN;
	wbc_pending.glob_op[wbc_pending.nglobs++] = wbc_pending.nops - 1;
	if (wbc_pending.begun)
		wbc_pending_begin_glob(wbc_pending.nglobs - 1);
}

/*
 * Lists a value to be stored at commit; copies what it is given.  A value under
 * a lease is a fetch's result, and invalidates nothing; any other replaces what
 * was fetched before.
 */
void
wbc_pending_set(const WbcPendingValue *value)
{
	WbcPendingValue *copy;
	char	   *bytes;

	wbc_memory_attach();
	if (value->lease == 0)
		list_stripe(OP_REPLACE, wbc_generation_stripe_of_key(&value->key), NULL);

	reserve_op();
	bytes = MemoryContextAllocHuge(wbc_pending.context, Max(value->value_len, 1));
	memcpy(bytes, value->value, value->value_len);
	copy = MemoryContextAlloc(wbc_pending.context, sizeof(WbcPendingValue));
	*copy = *value;
	copy->value = bytes;
	append_op(OP_SET, copy);
	wbc_pending.last_set = wbc_pending.nops - 1;
	wbc_pending.nsets++;
	wbc_pending_changes++;
}

/*
 * Lists a key whose entry is to be taken out at commit.
 */
void
wbc_pending_delete(const WbcKey *key)
{
	WbcNote		note = {WBC_REASON_MANUAL, WBC_TARGET_KEY, key->len, key->data};
	WbcKey	   *copy;

	wbc_memory_attach();
	wbc_pending_invalidate(wbc_generation_stripe_of_key(key), &note);

	reserve_op();
	copy = MemoryContextAlloc(wbc_pending.context, sizeof(WbcKey));
	wbc_key_copy(copy, key);
	append_op(OP_DELETE, copy);
}

/*
 * Lists an endpoint whose counters are to be given up at commit.
 */
void
wbc_pending_forget_endpoint(const char *name)
{
	reserve_op();
	append_op(OP_FORGET_ENDPOINT, MemoryContextStrdup(wbc_pending.context, name));
}

/*
 * Lists the stripe, which is on the list already, of an endpoint that is made or
 * dropped: from the commit on, values of before are another endpoint's.
 */
void
wbc_pending_renew_endpoint(uint32 stripe)
{
	reserve_op();
	append_op(OP_RENEW_ENDPOINT, NULL)->stripe = stripe;
}

/*
 * Lists a game that has changed: if its values are refreshed ahead, they are
 * looked at once this transaction has committed, and the warmer runs.  over: they
 * are no more from then on.
 */
void
wbc_pending_change_game(uint64 group, bool over)
{
	PendingGame *game;

	reserve_op();
	if (wbc_pending.ngames >= PENDING_GAMES_MAX)
		return;
	game = MemoryContextAlloc(wbc_pending.context, sizeof(PendingGame));
	game->group = group;
	game->over = over;
	append_op(OP_CHANGE_GAME, game);
	wbc_pending.ngames++;
}

/* ----------------------------------------------------------------
 * Asking
 * ----------------------------------------------------------------
 */

/* Does a glob listed behind this operation match the key? */
static bool
is_globbed(const WbcKey *key, int after)
{
	for (int i = 0; i < wbc_pending.nglobs; i++)
	{
		const Op   *op = &wbc_pending.ops[wbc_pending.glob_op[i]];

		if (wbc_pending.glob_op[i] > after &&
			wbc_glob_matches(op->object, op->len, key->data, key->len))
			return true;
	}
	return false;
}

/*
 * As long as this is the same, in this transaction, what was listed is still
 * listed, and to list it again would change nothing.  Never 0.
 */
uint64
wbc_pending_token(void)
{
	return wbc_pending_changes;
}

/*
 * Has this transaction itself invalidated the key, or one of these stripes?
 */
bool
wbc_pending_touches(const WbcKey *key, int n, const uint32 *stripe)
{
	if (likely(wbc_pending.nops == 0))
		return false;

	for (int i = 0; i < n; i++)
		if (wbc_pending_mention(stripe[i]) != NULL)
			return true;
	return !OidIsValid(key->scope) && is_globbed(key, -1);
}

/*
 * Was the value not invalidated after this set()?
 */
bool
wbc_pending_set_survives(int op)
{
	const WbcPendingValue *value = wbc_pending.ops[op].object;

	for (int i = 0; i < value->stamp.n; i++)
	{
		const Mention *mention = wbc_pending_mention(value->stamp.stripe[i]);

		if (mention != NULL && mention->op > op &&
			wbc_pending.ops[mention->op].kind == OP_INVALIDATE)
			return false;
	}
	return !is_globbed(&value->key, op);
}

/*
 * The value this transaction has set for a key and not invalidated since, or
 * NULL.  Valid until the end of the subtransaction.
 */
const WbcPendingValue *
wbc_pending_value(const WbcKey *key)
{
	if (wbc_pending.nsets == 0)
		return NULL;
	for (int i = wbc_pending.last_set; i >= 0; i--)
	{
		const WbcPendingValue *value = wbc_pending.ops[i].object;

		if (wbc_pending.ops[i].kind == OP_SET &&
			wbc_key_equal(key, &value->key))
			return wbc_pending_set_survives(i) ? value : NULL;
	}
	return NULL;
}

/* ----------------------------------------------------------------
 * Subtransactions
 * ----------------------------------------------------------------
 */

static void
cut_mention(const Op *op)
{
	if (op->object != NULL)
		wbc_pending.described[op->reason][op->target]--;
	if (op->previous >= 0)
	{
		wbc_pending_mention(op->stripe)->op = op->previous;
		return;
	}
	(void) hash_search(wbc_pending.latest, &op->stripe, HASH_REMOVE, NULL);
	if (wbc_pending.begun)
		wbc_generation_abort(op->stripe);
}

static void
cut_glob(const Op *op)
{
	wbc_pending.nglobs--;
	if (wbc_pending.begun)
		wbc_pending_abort_glob(wbc_pending.nglobs);
}

/*
 * Takes the last operation off the list, and gives its memory back: a transaction
 * may roll back to a savepoint for each row of an import.
 */
static void
cut_last_op(void)
{
	Op		   *op = &wbc_pending.ops[--wbc_pending.nops];

	switch (op->kind)
	{
		case OP_INVALIDATE:
		case OP_REPLACE:
			cut_mention(op);
			break;
		case OP_GLOB:
			cut_glob(op);
			break;
		case OP_SET:
			wbc_pending.nsets--;
			pfree(unconstify(char *, ((WbcPendingValue *) op->object)->value));
			break;
		case OP_CHANGE_GAME:
			wbc_pending.ngames--;
			break;
		case OP_DELETE:
		case OP_FORGET_ENDPOINT:
		case OP_RENEW_ENDPOINT:
			break;
	}
	if (op->object != NULL)
		pfree(op->object);
}

static void
cut_subtransaction(int level)
{
	int			nsets = wbc_pending.nsets;

	wbc_pending_changes++;
	while (wbc_pending.nops > 0 &&
		   wbc_pending.ops[wbc_pending.nops - 1].nest_level >= level)
		cut_last_op();

	if (wbc_pending.nsets == 0 || wbc_pending.nsets == nsets)
		return;
	wbc_pending.last_set = wbc_pending.nops - 1;
	while (wbc_pending.ops[wbc_pending.last_set].kind != OP_SET)
		wbc_pending.last_set--;
}

static void
give_to_parent(int level)
{
	for (int i = wbc_pending.nops - 1;
		 i >= 0 && wbc_pending.ops[i].nest_level >= level; i--)
		wbc_pending.ops[i].nest_level = level - 1;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId my_id,
				 SubTransactionId parent_id, void *arg)
{
	if (wbc_pending.nops == 0)
		return;

	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			give_to_parent(GetCurrentTransactionNestLevel());
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			cut_subtransaction(GetCurrentTransactionNestLevel());
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

/*
 * Called once, from _PG_init.
 */
void
wbc_pending_install_callbacks(void)
{
	RegisterXactCallback(wbc_pending_at_end, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
