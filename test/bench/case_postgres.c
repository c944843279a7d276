/*-------------------------------------------------------------------------
 *
 * case_postgres.c
 *	  The cases of a PostgreSQL server, through libpq.
 *
 * A target is a libpq connection string.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include <libpq-fe.h>

#include "bench.h"

#define STATEMENT	"bench"
#define FORMAT_TEXT		0
#define FORMAT_BINARY	1

/* What a case asks; exactly one of query and function is set. */
typedef struct PgDetail
{
	const char *query;			/* prepared, with one parameter */
	const char *function;		/* called by its oid, with one argument */
	const char *load;			/* statement to store a key and its value */
	int			format;			/* of the result */
	bool		constant;		/* the answer is the empty function's */
} PgDetail;

typedef struct PgSession
{
	PGconn	   *conn;
	const BenchCase *which;
	const PgDetail *detail;
	Oid			function;
	char		answer[64 * 1024];	/* PQfn fills it without knowing its size */
	char		array[BENCH_BATCH * BENCH_KEY_SIZE + 2];
} PgSession;

/* Checks the kind of a result; ends the program with the server's message. */
static PGresult *
expect(PgSession *session, PGresult *res, ExecStatusType status)
{
	if (PQresultStatus(res) != status)
		bench_die("%s: %s", session->which->name,
				  PQerrorMessage(session->conn));
	return res;
}

static void
run(PgSession *session, const char *sql)
{
	PQclear(expect(session, PQexec(session->conn, sql), PGRES_COMMAND_OK));
}

static Oid
function_oid(PgSession *session)
{
	const char *values[] = {session->detail->function};
	PGresult   *res;
	Oid			oid;

	res = PQexecParams(session->conn,
					   "SELECT $1::pg_catalog.regprocedure::pg_catalog.oid",
					   1, NULL, values, NULL, NULL, FORMAT_TEXT);
	expect(session, res, PGRES_TUPLES_OK);
	oid = strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return oid;
}

static void *
pg_open(const BenchCase *which, const char *target)
{
	PgSession  *session = bench_alloc(sizeof(PgSession));

	session->which = which;
	session->detail = which->detail;
	session->conn = PQconnectdb(target);
	if (PQstatus(session->conn) != CONNECTION_OK)
		bench_die("%s: %s", which->name, PQerrorMessage(session->conn));
	return session;
}

/* The same for a case that runs a prepared query. */
static void *
pg_open_query(const BenchCase *which, const char *target)
{
	PgSession  *session = pg_open(which, target);

	PQclear(expect(session,
				   PQprepare(session->conn, STATEMENT, session->detail->query,
							 1, NULL),
				   PGRES_COMMAND_OK));
	return session;
}

/* The same for a case that calls a function by its oid. */
static void *
pg_open_function(const BenchCase *which, const char *target)
{
	PgSession  *session = pg_open(which, target);

	session->function = function_oid(session);
	return session;
}

static void
pg_close(void *arg)
{
	PgSession  *session = arg;

	PQfinish(session->conn);
	free(session);
}

/* length is below zero for a null, as PQfn has it. */
static void
check_answer(PgSession *session, const char *answer, int length, int key,
			 BenchCheck check)
{
	if (length < 0)
		bench_die("%s: no value for key %s", session->which->name,
				  bench_key(key));
	bench_check(session->which->name, answer, length,
				session->detail->constant ?
				bench_empty_value() : bench_value(key), check);
}

/* Runs the prepared query and returns its rows, which the caller clears. */
static PGresult *
query(PgSession *session, const char *parameter)
{
	PGresult   *res;

	res = PQexecPrepared(session->conn, STATEMENT, 1, &parameter, NULL, NULL,
						 session->detail->format);
	return expect(session, res, PGRES_TUPLES_OK);
}

static void
check_field(PgSession *session, const PGresult *res, int row, int column,
			int key, BenchCheck check)
{
	int			length = PQgetlength(res, row, column);

	if (PQgetisnull(res, row, column))
		length = -1;
	check_answer(session, PQgetvalue(res, row, column), length, key, check);
}

static void
pg_query_one(void *arg, int first_key, BenchCheck check)
{
	PgSession  *session = arg;
	PGresult   *res = query(session, bench_key(first_key));

	if (PQntuples(res) != 1)
		bench_die("%s: %d rows instead of 1", session->which->name,
				  PQntuples(res));
	check_field(session, res, 0, 0, first_key, check);
	PQclear(res);
}

static void
pg_call(void *arg, int first_key, BenchCheck check)
{
	PgSession  *session = arg;
	PQArgBlock	argument;
	int			length;

	argument.isint = 0;
	argument.len = bench_key_length(first_key);
	argument.u.ptr = (int *) bench_key(first_key);
	PQclear(expect(session,
				   PQfn(session->conn, session->function,
						(int *) session->answer, &length, 0, &argument, 1),
				   PGRES_COMMAND_OK));
	check_answer(session, session->answer, length, first_key, check);
}

/* Writes BENCH_BATCH keys as a text[] in its text form. */
static void
build_array(PgSession *session, int first_key)
{
	char	   *p = session->array;

	for (int i = 0; i < BENCH_BATCH; i++)
	{
		size_t		length = bench_key_length(first_key + i);

		*p++ = i == 0 ? '{' : ',';
		memcpy(p, bench_key(first_key + i), length);
		p += length;
	}
	*p++ = '}';
	*p = '\0';
}

/* The rows are to come in the order of the keys asked for, as from MGET. */
static void
pg_query_many(void *arg, int first_key, BenchCheck check)
{
	PgSession  *session = arg;
	PGresult   *res;

	build_array(session, first_key);
	res = query(session, session->array);
	if (PQntuples(res) != BENCH_BATCH)
		bench_die("%s: %d rows instead of %d", session->which->name,
				  PQntuples(res), BENCH_BATCH);
	for (int i = 0; i < BENCH_BATCH; i++)
		check_field(session, res, i, 1, first_key + i, check);
	PQclear(res);
}

/* All in one transaction, which also is when wbcache.set takes effect. */
static void
pg_load(void *arg)
{
	PgSession  *session = arg;
	int			lengths[] = {0, BENCH_VALUE_SIZE};
	int			formats[] = {FORMAT_TEXT, FORMAT_BINARY};

	run(session, "BEGIN");
	PQclear(expect(session,
				   PQprepare(session->conn, "load", session->detail->load, 2,
							 NULL),
				   PGRES_COMMAND_OK));
	for (int key = 0; key < BENCH_KEYS; key++)
	{
		const char *values[] = {bench_key(key), bench_value(key)};
		PGresult   *res;

		res = PQexecPrepared(session->conn, "load", 2, values, lengths,
							 formats, FORMAT_TEXT);
		if (PQresultStatus(res) != PGRES_TUPLES_OK)
			expect(session, res, PGRES_COMMAND_OK);
		PQclear(res);
	}
	run(session, "COMMIT");
}

static const PgDetail get = {
	.query = "SELECT wbcache.get($1)",
	.load = "SELECT wbcache.set($1, $2)"
};

static const PgDetail get_binary = {
	.query = "SELECT wbcache.get($1)",
	.format = FORMAT_BINARY
};

static const PgDetail get_fastpath = {
	.function = "wbcache.get(text)"
};

static const PgDetail empty = {
	.query = "SELECT bench_empty($1)",
	.constant = true
};

static const PgDetail empty_binary = {
	.query = "SELECT bench_empty($1)",
	.format = FORMAT_BINARY,
	.constant = true
};

static const PgDetail empty_fastpath = {
	.function = "bench_empty(text)",
	.constant = true
};

static const PgDetail table = {
	.query = "SELECT value FROM kv WHERE key = $1",
	.load = "INSERT INTO kv (key, value) VALUES ($1, $2)"
};

static const PgDetail get_many = {
	.query = "SELECT * FROM wbcache.get_many($1)"
};

#define QUERY(name, detail, load) \
	{name, 1, pg_open_query, pg_query_one, load, pg_close, detail}
#define CALL(name, detail) \
	{name, 1, pg_open_function, pg_call, NULL, pg_close, detail}
#define QUERY_MANY(name, detail) \
	{name, BENCH_BATCH, pg_open_query, pg_query_many, NULL, pg_close, detail}

static const BenchCase cases[] = {
	QUERY("get", &get, pg_load),
	QUERY("get-binary", &get_binary, NULL),
	CALL("get-fastpath", &get_fastpath),
	QUERY("empty", &empty, NULL),
	QUERY("empty-binary", &empty_binary, NULL),
	CALL("empty-fastpath", &empty_fastpath),
	QUERY("table", &table, pg_load),
	QUERY_MANY("get_many", &get_many),
};

/* Returns NULL for a name that is not ours. */
const BenchCase *
bench_postgres_case(const char *name)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	}
	return NULL;
}
