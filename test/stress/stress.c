/*-------------------------------------------------------------------------
 *
 * stress.c
 *	  Many sessions change, invalidate, set and read a few keys at once; no
 *	  answer may be older than what its reader has seen to be committed, and
 *	  nothing that was rolled back may have had any effect.
 *
 * Usage:	stress [-c sessions] [-n steps] [-o overlaps] [-s seed]
 *				   [-e port -k key] conninfo
 *
 * A step is a statement.  Each session makes the same choices for the same
 * seed.  It goes on until all sessions together have made that many steps and
 * that many answers were checked beside a transaction on the key that was open
 * or ended meanwhile.  -e and -k tell where the test upstream is.
 *
 * Prints one line of name=value pairs, the last of them violations; the status
 * is 0 if there were none, 1 if there were, 2 if the test could not be run.
 * The database is as setup.sql makes it, and used once.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

/* Steps that a session makes between two looks at the others. */
#define CHUNK	1000

Options		options = {.steps = 10000, .sessions = 8, .seed = 1, .echo_key = ""};

static Session *sessions;
static _Atomic int64_t overlaps;

void
die(const char *fmt,...)
{
	va_list		args;

	fputs("stress: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

static void
one_turn(Session *session)
{
	uint32_t	choice = session_pick(session, 20);

	if (choice < 8)
		writer_run(session);
	else if (choice < 9)
		writer_lease(session);
	else
		reader_run(session);
}

static void *
session_main(void *arg)
{
	Session    *session = arg;
	int64_t		told = 0;

	do
	{
		int64_t		until = session->counts.steps + CHUNK;

		while (session->counts.steps < until)
			one_turn(session);
		atomic_fetch_add(&overlaps, session->counts.overlaps - told);
		told = session->counts.overlaps;
	} while (session->counts.steps < options.steps / options.sessions ||
			 overlaps < options.overlaps);
	return NULL;
}

static void
run_sessions(void)
{
	pthread_t	threads[SESSIONS_MAX];

	for (int i = 0; i < options.sessions; i++)
		if (pthread_create(&threads[i], NULL, session_main, &sessions[i]) != 0)
			die("could not start a thread");
	for (int i = 0; i < options.sessions; i++)
		pthread_join(threads[i], NULL);
}

/* Puts a value where none comes by itself, and has all keys cached. */
static void
warm_up(Session *session)
{
	for (int key = KIND_SET * KEYS_PER_KIND; key < (KIND_SET + 1) * KEYS_PER_KIND; key++)
	{
		char		sql[100];

		snprintf(sql, sizeof(sql), "SELECT wbcache.set('%s', '{\"v\": 1, \"token\": 0}')",
				 key_name(key));
		session_run(session, sql);
	}
	session->quiet = true;
	for (int key = 0; key < KEYS; key++)
		reader_one(session, key);
	session->quiet = false;
}

static void
check_number(Session *session, const char *what, int64_t number, int64_t right)
{
	if (number != right)
		ledger_violation(session, "%s: %lld, not %lld", what,
						 (long long) number, (long long) right);
}

/*
 * All is quiet: every key has the last version, and what was only invalidated
 * in vain was fetched once.
 */
static void
check_end(Session *session)
{
	PGresult   *res;

	for (int key = 0; key < KEYS; key++)
		reader_one(session, key);
	res = PQexec(session->conn,
				 "SELECT id, (SELECT last_value FROM pg_sequences WHERE schemaname = 'stress'"
				 " AND sequencename = 'loads_' || id) FROM stress.version WHERE quiet AND kind IN ('fast', 'slow', 'private', 'trigger')");
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(session->conn));
	for (int i = 0; i < PQntuples(res); i++)
		check_number(session, "calls of a quiet key's loader",
					 result_int(res, i, 1), 1);
	PQclear(res);
}

static void
print_report(double seconds)
{
	Counts		sum = {0};

	for (int i = 0; i < options.sessions; i++)
	{
		const Counts *counts = &sessions[i].counts;

		sum.steps += counts->steps;
		sum.reads += counts->reads;
		sum.overlaps += counts->overlaps;
		sum.hits += counts->hits;
		sum.commits += counts->commits;
		sum.rollbacks += counts->rollbacks;
		sum.savepoints += counts->savepoints;
		sum.leases += counts->leases;
		sum.writes += counts->writes;
	}
	printf("seed=%llu sessions=%d seconds=%.1f steps=%lld writes=%lld commits=%lld"
		   " rollbacks=%lld savepoints=%lld leases=%lld reads=%lld hits=%lld"
		   " overlaps=%lld violations=%lld\n",
		   (unsigned long long) options.seed, options.sessions, seconds,
		   (long long) sum.steps, (long long) sum.writes,
		   (long long) sum.commits, (long long) sum.rollbacks,
		   (long long) sum.savepoints, (long long) sum.leases,
		   (long long) sum.reads, (long long) sum.hits,
		   (long long) sum.overlaps, (long long) ledger_violations());
}

static void
parse_options(int argc, char **argv)
{
	int			c;

	while ((c = getopt(argc, argv, "c:e:k:n:o:s:")) != -1)
	{
		switch (c)
		{
			case 'c':
				options.sessions = atoi(optarg);
				break;
			case 'e':
				options.echo_port = atoi(optarg);
				break;
			case 'k':
				options.echo_key = optarg;
				break;
			case 'n':
				options.steps = atoll(optarg);
				break;
			case 'o':
				options.overlaps = atoll(optarg);
				break;
			case 's':
				options.seed = strtoull(optarg, NULL, 10);
				break;
			default:
				die("see the head of stress.c for its options");
		}
	}
	if (argc - optind != 1 || options.sessions < 1 ||
		options.sessions > SESSIONS_MAX || options.steps < 1 ||
		options.echo_port == 0)
		die("see the head of stress.c for its options");
	options.conninfo = argv[optind];
}

static double
now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	double		started;

	parse_options(argc, argv);
	ledger_init(16 * 1024 * 1024 + options.steps);
	sessions = calloc(options.sessions, sizeof(Session));
	if (sessions == NULL)
		die("out of memory");
	for (int i = 0; i < options.sessions; i++)
	{
		sessions[i].number = i;
		sessions[i].random = (options.seed + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ (i + 1) * UINT64_C(0xD1B54A32D192ED03);
		session_open(&sessions[i]);
	}
	started = now_seconds();
	warm_up(&sessions[0]);
	run_sessions();
	check_end(&sessions[0]);
	print_report(now_seconds() - started);
	for (int i = 0; i < options.sessions; i++)
		session_close(&sessions[i]);
	return ledger_violations() == 0 ? 0 : 1;
}
