/*-------------------------------------------------------------------------
 *
 * case_redis.c
 *	  The cases of a Redis server, through hiredis.
 *
 * A target is "unix:/path/to/socket" or "tcp:host:port".
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include <hiredis/hiredis.h>

#include "bench.h"

typedef struct RedisSession
{
	redisContext *context;
	const BenchCase *which;
	const char *argv[BENCH_BATCH + 1];	/* the command's name, then keys */
	size_t		argvlen[BENCH_BATCH + 1];
} RedisSession;

static redisContext *
connect_to(const char *target)
{
	struct timeval timeout = {BENCH_CONNECT_TIMEOUT, 0};
	char		host[256];
	int			port;

	if (strncmp(target, "unix:", 5) == 0)
		return redisConnectUnixWithTimeout(target + 5, timeout);
	if (sscanf(target, "tcp:%255[^:]:%d", host, &port) == 2)
		return redisConnectWithTimeout(host, port, timeout);
	bench_die("redis target \"%s\" is neither unix:/path nor tcp:host:port",
			  target);
}

static void *
redis_open(const BenchCase *which, const char *target)
{
	RedisSession *session = bench_alloc(sizeof(RedisSession));

	session->which = which;
	session->context = connect_to(target);
	if (session->context == NULL)
		bench_die("%s: out of memory", which->name);
	if (session->context->err)
		bench_die("%s: %s: %s", which->name, target, session->context->errstr);

	/*
	 * hiredis gives back an idle read buffer of more than 16 kB; libpq keeps
	 * it.  Keeping it is faster for large answers.
	 */
	session->context->reader->maxbuf = 0;

	session->argv[0] = which->detail;
	session->argvlen[0] = strlen(which->detail);
	return session;
}

static void
redis_close(void *arg)
{
	RedisSession *session = arg;

	redisFree(session->context);
	free(session);
}

/* Sends argc words and returns the reply, which the caller frees. */
static redisReply *
command(RedisSession *session, int argc, const char **argv, const size_t *lens)
{
	redisReply *reply = redisCommandArgv(session->context, argc, argv, lens);

	if (reply == NULL)
		bench_die("%s: %s", session->which->name, session->context->errstr);
	if (reply->type == REDIS_REPLY_ERROR)
		bench_die("%s: %s", session->which->name, reply->str);
	return reply;
}

static void
check_string(RedisSession *session, const redisReply *reply, int key,
			 BenchCheck check)
{
	if (reply->type != REDIS_REPLY_STRING)
		bench_die("%s: no value for key %s", session->which->name,
				  bench_key(key));
	bench_check(session->which->name, reply->str, reply->len,
				bench_value(key), check);
}

static void
redis_get(void *arg, int first_key, BenchCheck check)
{
	RedisSession *session = arg;
	redisReply *reply;

	session->argv[1] = bench_key(first_key);
	session->argvlen[1] = bench_key_length(first_key);
	reply = command(session, 2, session->argv, session->argvlen);
	check_string(session, reply, first_key, check);
	freeReplyObject(reply);
}

static void
redis_mget(void *arg, int first_key, BenchCheck check)
{
	RedisSession *session = arg;
	redisReply *reply;

	for (int i = 0; i < BENCH_BATCH; i++)
	{
		session->argv[i + 1] = bench_key(first_key + i);
		session->argvlen[i + 1] = bench_key_length(first_key + i);
	}
	reply = command(session, BENCH_BATCH + 1, session->argv, session->argvlen);
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != BENCH_BATCH)
		bench_die("%s: not an array of %d", session->which->name, BENCH_BATCH);
	for (int i = 0; i < BENCH_BATCH; i++)
		check_string(session, reply->element[i], first_key + i, check);
	freeReplyObject(reply);
}

static void
redis_load(void *arg)
{
	RedisSession *session = arg;

	for (int key = 0; key < BENCH_KEYS; key++)
	{
		const char *argv[] = {"SET", bench_key(key), bench_value(key)};
		size_t		lens[] = {3, bench_key_length(key), BENCH_VALUE_SIZE};

		freeReplyObject(command(session, 3, argv, lens));
	}
}

static const BenchCase cases[] = {
	{"redis", 1, redis_open, redis_get, redis_load, redis_close, "GET"},
	{"mget", BENCH_BATCH, redis_open, redis_mget, NULL, redis_close, "MGET"},
};

/* Returns NULL for a name that is not ours. */
const BenchCase *
bench_redis_case(const char *name)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	}
	return NULL;
}
