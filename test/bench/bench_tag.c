/*-------------------------------------------------------------------------
 *
 * bench_tag.c
 *	  Measures how long it takes to invalidate all keys of one game.
 *
 * Usage:	bench_tag keys rounds postgres-conninfo redis-socket
 *
 * Each round stores so many keys on both sides, with a value of 100 bytes, and
 * then invalidates them:
 *
 *		wbcache		one tag on all of them; SELECT wbcache.invalidate_tag(...)
 *		Redis		a SET with their names; SMEMBERS, DEL of the members in
 *					batches of 1,000, sent in one go, and DEL of the SET
 *
 * On the side of wbcache they are stored under leases, as a fetch would: set()
 * alone would invalidate those whose keys share a stripe with it.  The number
 * reported is that of the valid ones.
 *
 * The time runs from sending the request to having the last answer.  What was
 * stored is counted before it, and one key is looked at after it.  Between the
 * count and the measurement another game is invalidated, on both sides: the
 * count leaves the more in the processor's caches, the more keys there are.
 * This program and both servers' processes are bound to one processor, since
 * what the waking of a process costs depends on where it was last.  With
 * "none" for the socket Redis is left out.
 *
 * Prints a line of name=value pairs for each measurement.
 *
 *-------------------------------------------------------------------------
 */
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis/hiredis.h>
#include <libpq-fe.h>

/* Keys stored in a transaction, and deleted by a command. */
#define STORED_AT_ONCE	1000
#define DELETED_AT_ONCE	1000

/* Invalidations of another game before the one that counts. */
#define WARMING_UP		100

#define VALUE	"{\"pad\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"

static PGconn *conn;
static redisContext *redis;

static void die(const char *fmt,...) __attribute__((format(printf, 1, 2), noreturn));

static void
die(const char *fmt,...)
{
	va_list		args;

	fputs("bench_tag: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static double
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void
report(const char *side, int keys, int round, double us)
{
	printf("side=%s keys=%d round=%d us=%.1f\n", side, keys, round, us);
	fflush(stdout);
}

static void
bind_to_processor(pid_t pid)
{
	cpu_set_t	one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(pid, sizeof(one), &one) != 0)
		die("could not bind process %d to a processor", (int) pid);
}

/* The only field of an answer, as a number. */
static long
ask_postgres(const char *statement, int n, const char *const *values)
{
	PGresult   *res = PQexecPrepared(conn, statement, n, values, NULL, NULL, 0);
	long		answer;

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(conn));
	answer = strtol(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return answer;
}

static void
connect_postgres(const char *conninfo)
{
	static const char *const statements[][2] = {
		{"store", "SELECT count(wbcache.set(key, '" VALUE "', lease => (wbcache.acquire(key)).lease))"
		" FROM generate_series($1::int, $2::int) i, concat('tagged:bench:', i) key"},
		{"there", "SELECT count(value) FROM generate_series(1, $1::int) i, wbcache.get(concat('tagged:bench:', i)) value"},
		{"invalidate", "SELECT wbcache.invalidate_tag($1)"},
	};

	conn = PQconnectdb(conninfo);
	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	bind_to_processor(PQbackendPID(conn));
	for (int i = 0; i < 3; i++)
		PQclear(PQprepare(conn, statements[i][0], statements[i][1], 0, NULL));
}

static void
store_in_postgres(int keys)
{
	for (int from = 1; from <= keys; from += STORED_AT_ONCE)
	{
		int			to = from + STORED_AT_ONCE - 1 < keys ? from + STORED_AT_ONCE - 1 : keys;
		char		first[12];
		char		last[12];
		const char *values[] = {first, last};

		snprintf(first, sizeof(first), "%d", from);
		snprintf(last, sizeof(last), "%d", to);
		ask_postgres("store", 2, values);
	}
}

static void
measure_postgres(int keys, int round)
{
	static const char *const other[] = {"game:other"};
	static const char *const game[] = {"game:bench"};
	char		all[12];
	const char *values[] = {all};
	double		started;
	double		ended;
	long		there;

	snprintf(all, sizeof(all), "%d", keys);
	store_in_postgres(keys);
	there = ask_postgres("there", 1, values);
	for (int i = 0; i < WARMING_UP; i++)
		ask_postgres("invalidate", 1, other);
	started = now_us();
	ask_postgres("invalidate", 1, game);
	ended = now_us();
	if (there < keys / 2)
		die("%ld of %d keys are in the cache", there, keys);
	if (ask_postgres("there", 1, (const char *const[]) {"1"}) != 0)
		die("a key is still there");
	report("wbcache", there, round, ended - started);
}

static redisReply *
checked(redisReply *reply)
{
	if (reply == NULL)
		die("redis: %s", redis->errstr);
	if (reply->type == REDIS_REPLY_ERROR)
		die("redis: %s", reply->str);
	return reply;
}

static redisReply *
next_reply(void)
{
	void	   *reply;

	if (redisGetReply(redis, &reply) != REDIS_OK)
		die("redis: %s", redis->errstr);
	return checked(reply);
}

static void
store_in_redis(int keys)
{
	for (int i = 1; i <= keys; i++)
	{
		redisAppendCommand(redis, "SET tagged:%d %s", i, VALUE);
		redisAppendCommand(redis, "SADD game:bench tagged:%d", i);
	}
	for (int i = 0; i < 2 * keys; i++)
		freeReplyObject(next_reply());
}

/* Sends the deletion of the members and of the set, and awaits all answers. */
static void
delete_members(const redisReply *members)
{
	const char *argv[DELETED_AT_ONCE + 1] = {"DEL"};
	size_t		lengths[DELETED_AT_ONCE + 1] = {3};
	int			commands = 1;

	for (size_t from = 0; from < members->elements; from += DELETED_AT_ONCE)
	{
		int			n = 0;

		for (size_t i = from; i < members->elements && n < DELETED_AT_ONCE; i++)
		{
			argv[++n] = members->element[i]->str;
			lengths[n] = members->element[i]->len;
		}
		redisAppendCommandArgv(redis, n + 1, argv, lengths);
		commands++;
	}
	redisAppendCommand(redis, "DEL game:bench");
	while (commands-- > 0)
		freeReplyObject(next_reply());
}

/* What the measurement does, with a SET of one. */
static void
warm_redis_up(void)
{
	for (int i = 0; i < WARMING_UP; i++)
	{
		freeReplyObject(checked(redisCommand(redis, "SET tagged:other 1")));
		freeReplyObject(checked(redisCommand(redis, "SADD game:other tagged:other")));
		freeReplyObject(checked(redisCommand(redis, "SMEMBERS game:other")));
		freeReplyObject(checked(redisCommand(redis, "DEL tagged:other game:other")));
	}
}

static void
measure_redis(int keys, int round)
{
	redisReply *members;
	redisReply *left;
	size_t		there;
	double		started;
	double		ended;

	store_in_redis(keys);
	warm_redis_up();
	started = now_us();
	members = checked(redisCommand(redis, "SMEMBERS game:bench"));
	delete_members(members);
	ended = now_us();
	there = members->elements;
	freeReplyObject(members);
	left = checked(redisCommand(redis, "DBSIZE"));
	if (there != (size_t) keys || left->integer != 0)
		die("redis: %zu members, and %lld keys left", there, left->integer);
	freeReplyObject(left);
	report("redis", keys, round, ended - started);
}

static void
connect_redis(const char *socket)
{
	redisReply *info;
	const char *pid;

	redis = redisConnectUnix(socket);
	if (redis == NULL || redis->err)
		die("could not connect to Redis");
	freeReplyObject(checked(redisCommand(redis, "FLUSHALL")));
	info = checked(redisCommand(redis, "INFO server"));
	pid = strstr(info->str, "process_id:");
	if (pid == NULL)
		die("redis does not tell its process id");
	bind_to_processor(atoi(pid + strlen("process_id:")));
	freeReplyObject(info);
}

int
main(int argc, char **argv)
{
	int			keys;

	if (argc != 5)
		die("see the head of bench_tag.c for its arguments");
	keys = atoi(argv[1]);
	connect_postgres(argv[3]);
	if (strcmp(argv[4], "none") != 0)
		connect_redis(argv[4]);
	bind_to_processor(0);
	for (int round = 1; round <= atoi(argv[2]); round++)
	{
		measure_postgres(keys, round);
		if (redis != NULL)
			measure_redis(keys, round);
	}
	PQfinish(conn);
	return 0;
}
