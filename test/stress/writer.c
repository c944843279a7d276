/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  Transactions of the stress test that change versions.
 *
 * Rows are changed in the order of the keys, so that there are no deadlocks.
 * All choices are made by the session's generator; what they meet in the
 * other sessions is up to the machine.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "stress.h"

typedef enum End
{
	END_COMMIT,
	END_ROLLBACK,
	END_ERROR,					/* a failed statement, then COMMIT */
	END_FAILED_COMMIT			/* a deferred constraint */
} End;

static bool
call(Session *session, const char *statement, int n, const char *const *values)
{
	PGresult   *res = session_ask(session, statement, n, values);

	PQclear(res);
	return res != NULL;
}

static bool
call_with(Session *session, const char *statement, const char *argument)
{
	return call(session, statement, 1, &argument);
}

/* The tag of the key's group. */
static const char *
tag_of(int key)
{
	return is_quiet(key) ? "stress:quiet" :
		key % KEYS_PER_KIND < 2 ? "stress:a" : "stress:b";
}

/* A pattern that matches the keys of the kind and the group. */
static bool
invalidate_pattern(Session *session, int key)
{
	const char *name = key_name(key);
	char		pattern[40];

	snprintf(pattern, sizeof(pattern), "%.*s*",
			 (int) (strrchr(name, ':') - name + 1), name);
	return call_with(session, "invalidate_pattern", pattern);
}

/* Invalidates a key, in one of the ways there are. */
static bool
invalidate(Session *session, int key)
{
	if (kind_of(key) == KIND_TRIGGER && !is_quiet(key))
		return true;
	if (kind_of(key) == KIND_PRIVATE)
		return call_with(session, "invalidate_own", key_name(key));
	switch (session_pick(session, 8))
	{
		case 0:
		case 1:
			return call_with(session, "invalidate_tag", tag_of(key));
		case 2:
			return invalidate_pattern(session, key);
		case 3:
			return call_with(session, "delete", key_name(key));
		default:
			return call_with(session, "invalidate", key_name(key));
	}
}

static bool
set(Session *session, int key, const Version *version)
{
	char		v[24];
	char		token[24];
	const char *values[] = {key_name(key), v, token};

	snprintf(v, sizeof(v), "%lld", (long long) version->v);
	snprintf(token, sizeof(token), "%lld", (long long) version->token);
	return call(session, "set", 3, values);
}

/* A new version of the key; false when the transaction has failed. */
static bool
change_row(Session *session, int key, Version *made)
{
	bool		http = kind_of(key) == KIND_HTTP;
	char		id[12];
	char		number[24];
	const char *values[] = {id, number};
	PGresult   *res;

	made->token = ledger_token(session, key);
	session->counts.writes++;
	snprintf(id, sizeof(id), "%d", key);
	snprintf(number, sizeof(number), "%lld",
			 (long long) (http ? echo_ask(session, key) : made->token));
	res = session_ask(session, http ? "change_http" : "change", 2, values);
	if (res == NULL)
		return false;
	made->v = result_int(res, 0, 0);
	PQclear(res);
	return true;
}

static bool
can_be_set(int key)
{
	return kind_of(key) <= KIND_SET;
}

/*
 * Changes a key, and invalidates or sets it.  A value that is set is that of
 * the new version, whatever was invalidated before it.
 */
static bool
change(Session *session, int key)
{
	Version		made;
	bool		first = session_pick(session, 3) == 0;
	bool		sets = can_be_set(key) && session_pick(session, 3) == 0;

	if (first && !invalidate(session, key))
		return false;
	if (!change_row(session, key, &made))
		return false;
	if (sets)
	{
		if (!set(session, key, &made))
			return false;
		if (session_pick(session, 8) == 0 && !invalidate(session, key))
			return false;
	}
	else if (!first && !invalidate(session, key))
		return false;
	if (session_pick(session, 3) == 0)
		reader_one(session, key);
	return PQtransactionStatus(session->conn) == PQTRANS_INTRANS;
}

/* What is only ever rolled back. */
static bool
disturb_quiet(Session *session)
{
	int			key = session_pick(session, KINDS) * KEYS_PER_KIND + LIVE_PER_KIND;
	Version		never = {INT64_C(1000000000), 0};
	bool		good;

	session->quiet = true;
	if (session_pick(session, 4) == 0)
		good = call(session, "clear", 0, NULL);
	else if (can_be_set(key) && session_pick(session, 3) == 0)
	{
		never.token = ledger_token(session, key);
		good = set(session, key, &never);
	}
	else
		good = invalidate(session, key);
	if (good && session_pick(session, 3) == 0)
		reader_one(session, session_pick(session, KEYS));
	return good;
}

/* Changes in a savepoint that is rolled back, with another one inside. */
static bool
change_in_vain(Session *session, int key)
{
	int			left = session->ntokens;
	bool		was_quiet = session->quiet;
	bool		good;

	if (!session_run(session, "SAVEPOINT a"))
		return false;
	good = change(session, key);
	if (good && session_pick(session, 2) == 0)
		good = session_run(session, "SAVEPOINT b") &&
			disturb_quiet(session) && session_run(session, "RELEASE b");
	if (good && session_pick(session, 4) == 0)
		session_run(session, "SELECT 1/0");
	session->counts.savepoints++;
	ledger_cut(session, left);
	if (!session_run(session, "ROLLBACK TO a"))
		return false;
	session->quiet = was_quiet;
	if (session_pick(session, 2) == 0)
		reader_one(session, key);
	return PQtransactionStatus(session->conn) == PQTRANS_INTRANS;
}

/* One key of a transaction, in a savepoint or not. */
static bool
handle_key(Session *session, int key)
{
	switch (session_pick(session, 5))
	{
		case 0:
			return change_in_vain(session, key);
		case 1:
			return session_run(session, "SAVEPOINT c") &&
				change(session, key) && session_run(session, "RELEASE c");
		case 2:
			return change_in_vain(session, key) && change(session, key);
		default:
			return change(session, key);
	}
}

static bool
commit(Session *session)
{
	ledger_committing(session);
	return session_run(session, "COMMIT");
}

static bool
end(Session *session, End how)
{
	switch (how)
	{
		case END_COMMIT:
			return commit(session);
		case END_ROLLBACK:
			session_run(session, "ROLLBACK");
			return false;
		case END_ERROR:
			session_run(session, "SELECT 1/0");
			session_run(session, "COMMIT");
			return false;
		case END_FAILED_COMMIT:
			session_run(session, "INSERT INTO stress.once VALUES (1)");
			session_run(session, "COMMIT");
			return false;
	}
	return false;
}

static End
choose_end(Session *session)
{
	uint32_t	choice = session_pick(session, 20);

	return choice < 14 ? END_COMMIT : choice < 17 ? END_ROLLBACK :
		choice < 19 ? END_ERROR : END_FAILED_COMMIT;
}

static const char *
choose_begin(Session *session)
{
	static const char *const begins[] = {
		"BEGIN", "BEGIN", "BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ",
		"BEGIN ISOLATION LEVEL SERIALIZABLE"
	};

	return begins[session_pick(session, 5)];
}

/* One to three keys, in order. */
static bool
handle_keys(Session *session)
{
	int			n = 1 + session_pick(session, 3);
	int			key = -1;

	for (int i = 0; i < n; i++)
	{
		key += 1 + session_pick(session, KEYS / n);
		if (key >= KEYS)
			break;
		if (!is_quiet(key) && !handle_key(session, key))
			return false;
	}
	return true;
}

void
writer_run(Session *session)
{
	End			how = choose_end(session);
	bool		good;
	bool		committed = false;

	session_run(session, choose_begin(session));
	good = handle_keys(session);
	if (good && how != END_COMMIT && session_pick(session, 2) == 0)
		good = disturb_quiet(session);
	if (good)
		committed = end(session, how);
	else
		session_run(session, "ROLLBACK");
	ledger_ended(session, committed);
	if (committed)
		session->counts.commits++;
	else
		session->counts.rollbacks++;
}

/* Takes the lease of a key without a source, if it is to be had. */
void
writer_lease(Session *session)
{
	int			key = KIND_SET * KEYS_PER_KIND + session_pick(session, LIVE_PER_KIND);
	bool		give_up = session_pick(session, 8) == 0;
	char		id[12];
	char		lease[24];
	const char *ask[] = {key_name(key), give_up ? "5 ms" : "20 s"};
	const char *row[] = {id};
	PGresult   *res = session_ask(session, "acquire", 2, ask);

	if (res == NULL)
		return;
	snprintf(id, sizeof(id), "%d", key);
	snprintf(lease, sizeof(lease), "%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	if (lease[0] == '\0' || give_up)
		return;
	res = session_ask(session, "version", 1, row);
	if (res != NULL)
	{
		const char *put[] = {key_name(key), PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1), lease};

		session->counts.leases++;
		call(session, "set_lease", 4, put);
		PQclear(res);
	}
}
