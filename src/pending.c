/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  What the current transaction will do to the cache when it commits.
 *
 * Layer 3.  An ordered list of operations, local to the backend and gone with
 * the transaction.  Nothing on it has any effect on others before pre-commit.
 *
 *		pre-commit	every stripe on the list: in-progress + 1
 *		commit		every stripe: generation + 1, in-progress - 1; then
 *					the deletes and sets, in their order
 *		abort		every stripe: in-progress - 1, if pre-commit was reached
 *
 * Operations of a subtransaction are always at the tail of the list: rolling
 * back to a savepoint cuts them off, releasing it gives them to its parent.
 *
 * Order matters between set() and what invalidates: a value survives the
 * invalidations that the transaction made before it, not those made after it,
 * and nobody else's.  So a stripe that is listed already is listed again only
 * if a set() came in between; "latest" knows the last mention of each stripe.
 * A set() lists the stripe of its key as well, but that does no harm to values
 * set before it: they are of other keys, or replaced.
 *
 * The commit callback can't throw: the core would turn that into a PANIC.  All
 * that it needs was allocated when the operations were listed, and what it
 * calls in the memory tier never throws.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "flight.h"
#include "key.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef enum OpKind
{
	OP_INVALIDATE,
	OP_REPLACE,					/* a set() is about to follow */
	OP_DELETE,
	OP_SET,
	OP_FORGET_ENDPOINT
} OpKind;

typedef struct Op
{
	OpKind		kind;
	int			nest_level;		/* of the subtransaction it belongs to */
	uint32		stripe;			/* OP_INVALIDATE, OP_REPLACE */
	int			previous;		/* last mention of the stripe before this one,
								 * or -1; always -1 for OP_REPLACE */
	void	   *object;			/* WbcKey, WbcPendingValue or a name */
} Op;

/* The last mention of a stripe. */
typedef struct Mention
{
	uint32		stripe;			/* hash key; must be first */
	int			op;
	uint64		before;			/* at commit: what the stripe held before */
} Mention;

static MemoryContext context = NULL;
static Op  *ops = NULL;
static int	nops = 0;
static int	ops_size = 0;
static HTAB *latest = NULL;
static int	last_set = -1;		/* index of the last OP_SET */
static bool begun = false;		/* pre-commit was reached */
static uint64 epoch = 1;		/* see wbc_pending_epoch() */

/* ----------------------------------------------------------------
 * Listing
 * ----------------------------------------------------------------
 */

static void
make_list(void)
{
	HASHCTL		info = {.keysize = sizeof(uint32), .entrysize = sizeof(Mention)};
	MemoryContext mine = AllocSetContextCreate(TopTransactionContext,
											   "wbcache pending",
											   ALLOCSET_DEFAULT_SIZES);

	info.hcxt = mine;
	ops_size = 64;
	ops = MemoryContextAlloc(mine, ops_size * sizeof(Op));
	latest = hash_create("wbcache pending stripes", 256, &info,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	context = mine;
}

/*
 * Makes sure that one more operation fits.  All that can throw is done before
 * the list is touched.
 */
static void
reserve_op(void)
{
	if (context == NULL)
		make_list();
	if (nops >= ops_size)
	{
		ops = repalloc_huge(ops, (Size) ops_size * 2 * sizeof(Op));
		ops_size *= 2;
	}
}

static Op *
append_op(OpKind kind, void *object)
{
	Op		   *op = &ops[nops++];

	op->kind = kind;
	op->nest_level = GetCurrentTransactionNestLevel();
	op->object = object;
	op->stripe = 0;
	op->previous = -1;
	return op;
}

static inline bool
is_mention(const Op *op)
{
	return op->kind == OP_INVALIDATE || op->kind == OP_REPLACE;
}

static Mention *
find_mention(uint32 stripe)
{
	return hash_search(latest, &stripe, HASH_FIND, NULL);
}

static void
list_stripe(OpKind kind, uint32 stripe)
{
	Mention    *mention;
	Op		   *op;
	bool		found;

	reserve_op();
	if (hash_get_num_entries(latest) >= WBC_PENDING_STRIPES_MAX &&
		find_mention(stripe) == NULL)
		stripe = WBC_STRIPE_EVERYONE;
	mention = hash_search(latest, &stripe, HASH_ENTER, &found);
	if (found && (kind == OP_REPLACE || mention->op > last_set))
		return;

	op = append_op(kind, NULL);
	op->stripe = stripe;
	op->previous = found ? mention->op : -1;
	mention->op = nops - 1;
	if (begun && !found)
		wbc_generation_begin(stripe);
}

/*
 * Lists a stripe: whatever depends on it is invalid once this transaction has
 * committed.
 */
void
wbc_pending_invalidate(uint32 stripe)
{
	list_stripe(OP_INVALIDATE, stripe);
}

void
wbc_pending_invalidate_everything(void)
{
	wbc_pending_invalidate(WBC_STRIPE_EVERYONE);
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
		list_stripe(OP_REPLACE, wbc_generation_stripe_of_key(&value->key));

	reserve_op();
	bytes = MemoryContextAllocHuge(context, Max(value->value_len, 1));
	memcpy(bytes, value->value, value->value_len);
	copy = MemoryContextAlloc(context, sizeof(WbcPendingValue));
	*copy = *value;
	copy->value = bytes;
	append_op(OP_SET, copy);
	last_set = nops - 1;
	epoch++;
}

/*
 * Lists a key whose entry is to be taken out at commit.
 */
void
wbc_pending_delete(const WbcKey *key)
{
	WbcKey	   *copy;

	wbc_memory_attach();
	wbc_pending_invalidate(wbc_generation_stripe_of_key(key));

	reserve_op();
	copy = MemoryContextAlloc(context, sizeof(WbcKey));
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
	append_op(OP_FORGET_ENDPOINT, MemoryContextStrdup(context, name));
}

/* ----------------------------------------------------------------
 * Asking
 * ----------------------------------------------------------------
 */

/*
 * What was listed by wbc_pending_invalidate() needs not be listed again as long
 * as this number is the same.  Never 0.
 */
uint64
wbc_pending_epoch(void)
{
	return epoch;
}

/*
 * Has this transaction itself invalidated one of these stripes?
 */
bool
wbc_pending_touches(int n, const uint32 *stripe)
{
	if (likely(nops == 0))
		return false;

	for (int i = 0; i < n; i++)
		if (find_mention(stripe[i]) != NULL)
			return true;
	return false;
}

/* Was none of its stripes invalidated after this set()? */
static bool
set_survives(int op)
{
	const WbcPendingValue *value = ops[op].object;

	for (int i = 0; i < value->stamp.n; i++)
	{
		const Mention *mention = find_mention(value->stamp.stripe[i]);

		if (mention != NULL && mention->op > op &&
			ops[mention->op].kind == OP_INVALIDATE)
			return false;
	}
	return true;
}

/*
 * The value this transaction has set for a key and not invalidated since, or
 * NULL.  Valid until the end of the subtransaction.
 */
const WbcPendingValue *
wbc_pending_value(const WbcKey *key)
{
	for (int i = last_set; i >= 0; i--)
	{
		const WbcPendingValue *value = ops[i].object;

		if (ops[i].kind == OP_SET &&
			wbc_key_equal(key, &value->key))
			return set_survives(i) ? value : NULL;
	}
	return NULL;
}

/* ----------------------------------------------------------------
 * Subtransactions
 * ----------------------------------------------------------------
 */

/*
 * Takes the last operation off the list.
 */
static void
cut_last_op(void)
{
	const Op   *op = &ops[--nops];

	if (!is_mention(op))
		return;
	if (op->previous >= 0)
	{
		find_mention(op->stripe)->op = op->previous;
		return;
	}
	(void) hash_search(latest, &op->stripe, HASH_REMOVE, NULL);
	if (begun)
		wbc_generation_abort(op->stripe);
}

static void
cut_subtransaction(int level)
{
	while (nops > 0 && ops[nops - 1].nest_level >= level)
		cut_last_op();
	epoch++;

	if (last_set >= nops)
	{
		last_set = nops - 1;
		while (last_set >= 0 && ops[last_set].kind != OP_SET)
			last_set--;
	}
}

static void
give_to_parent(int level)
{
	for (int i = nops - 1; i >= 0 && ops[i].nest_level >= level; i--)
		ops[i].nest_level = level - 1;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId my_id,
				 SubTransactionId parent_id, void *arg)
{
	if (nops == 0)
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

/* ----------------------------------------------------------------
 * The end of the transaction
 * ----------------------------------------------------------------
 */

/* An operation that is the first mention of its stripe stands for it. */
static inline bool
is_first_mention(const Op *op)
{
	return is_mention(op) && op->previous < 0;
}

static void
begin_all(void)
{
	for (int i = 0; i < nops; i++)
		if (is_first_mention(&ops[i]))
			wbc_generation_begin(ops[i].stripe);
	begun = true;
}

static void
abort_all(void)
{
	for (int i = 0; i < nops; i++)
		if (is_first_mention(&ops[i]))
			wbc_generation_abort(ops[i].stripe);
}

static void
commit_all(void)
{
	for (int i = 0; i < nops; i++)
		if (is_first_mention(&ops[i]))
			find_mention(ops[i].stripe)->before =
				wbc_generation_commit(ops[i].stripe);
}

/*
 * Moves a value's stamp past this transaction's own commit.  Returns false if
 * somebody else's invalidation was committed since set() was called.
 */
static bool
carry_over_commit(WbcStamp *stamp)
{
	for (int i = 0; i < stamp->n; i++)
	{
		const Mention *mention = find_mention(stamp->stripe[i]);

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
	WbcPendingValue *value = ops[op].object;
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

	if (!set_survives(op) || !carry_over_commit(&value->stamp))
		return InvalidDsaPointer;
	return wbc_memory_build(&parts);
}

static void
store_value(int op, TimestampTz now)
{
	const WbcPendingValue *value = ops[op].object;
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
apply_all(TimestampTz now)
{
	for (int i = 0; i < nops; i++)
		switch (ops[i].kind)
		{
			case OP_INVALIDATE:
			case OP_REPLACE:
				break;
			case OP_DELETE:
				wbc_memory_remove(ops[i].object);
				break;
			case OP_SET:
				store_value(i, now);
				break;
			case OP_FORGET_ENDPOINT:
				wbc_metrics_endpoint_forget(MyDatabaseId, ops[i].object);
				break;
		}
}

/* The memory itself goes with the transaction. */
static void
forget_list(void)
{
	context = NULL;
	ops = NULL;
	latest = NULL;
	nops = ops_size = 0;
	last_set = -1;
	begun = false;
	epoch++;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (context == NULL)
		return;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			begin_all();
			break;
		case XACT_EVENT_COMMIT:
			commit_all();
			apply_all(GetCurrentTimestamp());
			forget_list();
			break;
		case XACT_EVENT_ABORT:
			if (begun)
				abort_all();
			forget_list();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (nops > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has invalidated or set cached values"),
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

/*
 * Called once, from _PG_init.
 */
void
wbc_pending_install_callbacks(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
