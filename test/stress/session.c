/*-------------------------------------------------------------------------
 *
 * session.c
 *	  One connection of the stress test.
 *
 * Errors that a step may meet are those of transactions that lose: everything
 * else is reported as a violation.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"

static const struct
{
	const char *name;
	const char *sql;
}			statements[] = {
	{"read", "SELECT s.v, s.token, l.value ->> 'v', l.value ->> 'token', l.status"
	" FROM stress.version s, wbcache.lookup($2) l WHERE s.id = $1::int"},
	{"read_private", "SELECT s.v, s.token, l.value ->> 'v', l.value ->> 'token', NULL"
		" FROM stress.version s, wbcache.get_with_swr($2, 'stress.load(text[])', '1 h', '2 h') AS l (value)"
	" WHERE s.id = $1::int"},
	{"read_http", "SELECT s.v, s.token, l.value ->> 'n', NULL, l.status"
	" FROM stress.version s, wbcache.lookup($2) l WHERE s.id = $1::int"},
	{"floors", "SELECT v, token FROM stress.version ORDER BY id"},
	{"get", "SELECT value ->> 'v', value ->> 'token' FROM wbcache.get($1) AS g (value)"},
	{"get_private", "SELECT value ->> 'v', value ->> 'token'"
	" FROM wbcache.get_with_swr($1, 'stress.load(text[])', '1 h', '2 h') AS g (value)"},
	{"get_http", "SELECT value ->> 'n', NULL FROM wbcache.get($1) AS g (value)"},
	{"get_many", "SELECT value ->> 'v', value ->> 'token', error FROM wbcache.get_many($1)"},
	{"change", "UPDATE stress.version SET v = v + 1, token = $2::bigint WHERE id = $1::int RETURNING v"},
	{"change_http", "UPDATE stress.version SET v = greatest(v, $2::bigint) WHERE id = $1::int RETURNING v"},
	{"acquire", "SELECT lease FROM wbcache.acquire($1, $2::interval)"},
	{"version", "SELECT v, token FROM stress.version WHERE id = $1::int"},
	{"invalidate", "SELECT wbcache.invalidate($1)"},
	{"invalidate_own", "SELECT wbcache.invalidate_own($1)"},
	{"invalidate_tag", "SELECT wbcache.invalidate_tag($1)"},
	{"invalidate_pattern", "SELECT wbcache.invalidate_pattern($1)"},
	{"delete", "SELECT wbcache.delete($1)"},
	{"set", "SELECT wbcache.set($1, json_build_object('v', $2::bigint, 'token', $3::bigint))"},
	{"set_lease", "SELECT wbcache.set($1, json_build_object('v', $2::bigint, 'token', $3::bigint), lease => $4::bigint)"},
	{"clear", "SELECT wbcache.clear()"},
};

/*
 * SQLSTATEs of losers: a serialization failure, a division by zero and a
 * duplicate key made on purpose, what follows these, and a lost lease.
 */
static const char *const expected[] = {"40001", "22012", "23505", "25P02", "WB006"};

static char names[KEYS][32];

/* The key as text: kind:group:number. */
const char *
key_name(int key)
{
	return names[key];
}

static void
name_keys(void)
{
	static const char *const kinds[] = {"fast", "slow", "set", "private", "http", "trigger"};

	for (int key = 0; key < KEYS; key++)
		snprintf(names[key], sizeof(names[key]), "%s:%s:%d",
				 kinds[kind_of(key)],
				 is_quiet(key) ? "quiet" : key % KEYS_PER_KIND < 2 ? "a" : "b",
				 key);
}

void
session_open(Session *session)
{
	if (names[0][0] == '\0')
		name_keys();
	session->conn = PQconnectdb(options.conninfo);
	if (PQstatus(session->conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(session->conn));
	PQclear(PQexec(session->conn, "SET stress.client = 'yes'; SET wbcache.max_wait = '60s'"));
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		PGresult   *res = PQprepare(session->conn, statements[i].name,
									statements[i].sql, 0, NULL);

		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			die("%s: %s", statements[i].name, PQerrorMessage(session->conn));
		PQclear(res);
	}
	echo_open(session);
}

void
session_close(Session *session)
{
	echo_close(session);
	PQfinish(session->conn);
}

/* A number from 0 to n - 1; xorshift64. */
uint32_t
session_pick(Session *session, uint32_t n)
{
	session->random ^= session->random << 13;
	session->random ^= session->random >> 7;
	session->random ^= session->random << 17;
	return (uint32_t) (session->random >> 32) % n;
}

/* Did the step go well?  Reports errors that nobody asked for. */
static bool
succeeded(Session *session, const PGresult *res, const char *what)
{
	ExecStatusType status = PQresultStatus(res);
	const char *state;

	session->counts.steps++;
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return true;
	state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	for (size_t i = 0; state && i < sizeof(expected) / sizeof(expected[0]); i++)
		if (strcmp(state, expected[i]) == 0)
			return false;
	ledger_violation(session, "%s: %s %s", what, state ? state : "",
					 PQresultErrorMessage(res));
	if (PQstatus(session->conn) != CONNECTION_OK)
		die("session %d lost its connection", session->number);
	return false;
}

/*
 * Runs a prepared statement.  Returns its rows, which the caller clears; NULL
 * when it failed.
 */
PGresult *
session_ask(Session *session, const char *statement, int n,
			const char *const *values)
{
	PGresult   *res = PQexecPrepared(session->conn, statement, n, values, NULL,
									 NULL, 0);

	if (succeeded(session, res, statement))
		return res;
	PQclear(res);
	return NULL;
}

/* Returns false when it failed, or when a COMMIT was a ROLLBACK. */
bool
session_run(Session *session, const char *sql)
{
	PGresult   *res = PQexec(session->conn, sql);
	bool		good = succeeded(session, res, sql) &&
		!(strcmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(res), "COMMIT") != 0);

	PQclear(res);
	return good;
}

/* -1 for a null. */
int64_t
result_int(const PGresult *res, int row, int column)
{
	return PQgetisnull(res, row, column) ? -1 :
		strtoll(PQgetvalue(res, row, column), NULL, 10);
}
