/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  What the stress test knows to be committed, and its verdicts.
 *
 * Each change of a key gets a token that no other change has.  While its
 * transaction is open nobody else may see it; from the moment before COMMIT is
 * sent others may; once it was rolled back nobody ever may.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"

/* Violations that are told in words. */
#define TOLD_MAX	20

/* States of a token; those above belong to a session whose change is open. */
#define UNUSED		0
#define COMMITTING	1
#define COMMITTED	2
#define ROLLED_BACK	3
#define OPEN		4

static _Atomic unsigned char *states;
static int64_t ntokens;
static _Atomic int64_t last_token;
static _Atomic int64_t violations;
static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;

/* Of each key: transactions open on it, and transactions ended. */
static _Atomic int64_t open_on[KEYS];
static _Atomic int64_t ended_on[KEYS];

void
ledger_init(int64_t tokens)
{
	states = calloc(tokens, 1);
	if (states == NULL)
		die("out of memory");
	ntokens = tokens;
	states[0] = COMMITTED;		/* of the rows the test begins with */
}

/* A new change, of the session's open transaction. */
int64_t
ledger_token(Session *session, int key)
{
	int64_t		token = atomic_fetch_add(&last_token, 1) + 1;

	if (token >= ntokens)
		die("more changes than expected");
	states[token] = OPEN + session->number;
	session->tokens[session->ntokens++] = token;
	session->keys[session->nkeys++] = key;
	ledger_begin_key(key);
	return token;
}

void
ledger_begin_key(int key)
{
	atomic_fetch_add(&open_on[key], 1);
}

void
ledger_end_key(int key)
{
	atomic_fetch_add(&ended_on[key], 1);
	atomic_fetch_sub(&open_on[key], 1);
}

static void
mark(const Session *session, int from, unsigned char state)
{
	for (int i = from; i < session->ntokens; i++)
		states[session->tokens[i]] = state;
}

/* To be called before COMMIT is sent. */
void
ledger_committing(Session *session)
{
	mark(session, 0, COMMITTING);
}

void
ledger_ended(Session *session, bool committed)
{
	mark(session, 0, committed ? COMMITTED : ROLLED_BACK);
	session->ntokens = 0;
	for (int i = 0; i < session->nkeys; i++)
		ledger_end_key(session->keys[i]);
	session->nkeys = 0;
	session->quiet = false;
}

/* The changes behind the first few were rolled back to a savepoint. */
void
ledger_cut(Session *session, int left)
{
	mark(session, left, ROLLED_BACK);
	session->ntokens = left;
}

/* How many transactions on a key have ended; open: is one of them open? */
int64_t
ledger_moment(int key, bool *open)
{
	*open = open_on[key] > 0;
	return ended_on[key];
}

void
ledger_violation(Session *session, const char *fmt,...)
{
	va_list		args;

	if (atomic_fetch_add(&violations, 1) >= TOLD_MAX)
		return;
	pthread_mutex_lock(&telling);
	fprintf(stderr, "violation: session %d, step %lld: ", session->number,
			(long long) session->counts.steps);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	pthread_mutex_unlock(&telling);
}

int64_t
ledger_violations(void)
{
	return violations;
}

static void
check_token(Session *session, int key, const Version *value)
{
	int			state;

	if (value->token < 0 || value->token > last_token)
	{
		ledger_violation(session, "%s: a value that nobody made, token %lld",
						 key_name(key), (long long) value->token);
		return;
	}
	state = states[value->token];
	if (state == ROLLED_BACK)
		ledger_violation(session, "%s: version %lld, token %lld, was rolled back",
						 key_name(key), (long long) value->v,
						 (long long) value->token);
	else if (state >= OPEN && state != OPEN + session->number)
		ledger_violation(session, "%s: version %lld, token %lld, is not committed yet",
						 key_name(key), (long long) value->v,
						 (long long) value->token);
}

/*
 * Is this an answer that a reader may get who has seen the floor in the table
 * before?  status: how the read was answered, or NULL.
 */
void
ledger_check(Session *session, int key, const Version *floor,
			 const Version *value, const char *status)
{
	Kind		kind = kind_of(key);

	session->counts.reads++;
	if (status != NULL && strcmp(status, "hit") == 0)
		session->counts.hits++;
	if (is_quiet(key) && status != NULL && !session->quiet &&
		strcmp(status, "hit") != 0)
		ledger_violation(session, "%s: \"%s\", though nothing but what was rolled back has invalidated it",
						 key_name(key), status);
	if (value->v < 0)
	{
		if (kind != KIND_SET || (is_quiet(key) && !session->quiet))
			ledger_violation(session, "%s: no value", key_name(key));
		return;
	}
	/* an echo made before the floor was taken has a lower number or the same */
	if (kind == KIND_HTTP ? value->v <= floor->v : value->v < floor->v)
		ledger_violation(session, "%s: version %lld, though %lld was seen before%s%s",
						 key_name(key), (long long) value->v,
						 (long long) floor->v, status ? ", " : "",
						 status ? status : "");
	if (kind == KIND_HTTP)
		return;
	check_token(session, key, value);
	if (value->v == floor->v && value->token != floor->token)
		ledger_violation(session, "%s: version %lld of token %lld, not of %lld",
						 key_name(key), (long long) value->v,
						 (long long) value->token, (long long) floor->token);
}
