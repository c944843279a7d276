/*-------------------------------------------------------------------------
 *
 * bench_client.c
 *	  Measures one case: how many requests a second, and how long they take.
 *
 * Usage:	bench_client [-k first-key] [-c clients] [-t seconds] case target
 *			bench_client [-k first-key] -l case target
 *
 * The driver is the same for every case and both sides: one thread and one
 * connection a client, one request on its way at a time, keys picked by a
 * pseudo-random generator.  Each thread first asks for every key, over and
 * over until WARM_UP_NS have passed, and compares every byte of the answers;
 * then all start together and go on for the given time, in which the length
 * of each answer is checked.  Any unexpected answer ends the program with
 * status 1 and no result.
 *
 * The result is one line of name=value pairs: case, clients, seconds (to the
 * end of the last request), requests, rps, and the latencies p50_us, p99_us
 * and max_us in microseconds, of a request and not of a key where a request
 * asks for many.
 *
 * With -l it stores the keys that the case asks for, asks for each of them
 * once, and measures nothing.  The keys are bench:<first-key> (1) and the
 * BENCH_KEYS - 1 that follow.
 *
 * Called by bench.sh.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define NS_PER_SECOND	INT64_C(1000000000)
#define WARM_UP_NS		(NS_PER_SECOND / 5)

#define MAX_FIRST_KEY	1000000
#define MAX_CLIENTS		1000
#define MAX_SECONDS		3600

/* Seconds that everything but the timed loop may take. */
#define OVERHEAD_LIMIT	60

/*
 * Latencies are counted in buckets, 2^SUB_BITS to each power of two, so that
 * a bucket is less than 1 % wide.  MAX_BITS is enough for a quarter of an
 * hour in nanoseconds.
 */
#define SUB_BITS	7
#define SUBS		(1 << SUB_BITS)
#define MAX_BITS	40
#define BUCKETS		((MAX_BITS - SUB_BITS + 1) * SUBS)

typedef struct Latencies
{
	uint64_t	count[BUCKETS];
	uint64_t	requests;
	int64_t		max;			/* ns */
} Latencies;

typedef struct Client
{
	pthread_t	thread;
	int			number;
	int64_t		started;		/* ns, monotonic clock */
	int64_t		ended;			/* ns, end of the last request */
	Latencies	latencies;
} Client;

typedef struct Options
{
	const BenchCase *which;
	const char *target;
	int			first_key;
	int			clients;
	double		seconds;
	bool		load;
} Options;

/* Set before the threads start, read-only after. */
static Options options;

static pthread_barrier_t ready;

/* Ends the program; from any thread. */
void
bench_die(const char *fmt,...)
{
	va_list		args;

	flockfile(stderr);
	fputs("bench_client: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

/* Returns zeroed memory for free(), or ends the program. */
void *
bench_alloc(size_t size)
{
	void	   *result = calloc(1, size);

	if (result == NULL)
		bench_die("out of memory");
	return result;
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SECOND + ts.tv_nsec;
}

static int
bucket_of(int64_t ns)
{
	int			shift;

	if (ns < SUBS)
		return ns;
	if (ns >= INT64_C(1) << MAX_BITS)
		return BUCKETS - 1;
	shift = 63 - __builtin_clzll(ns) - SUB_BITS;
	return (shift + 1) * SUBS + (int) ((ns >> shift) - SUBS);
}

/* The longest latency that counts as bucket, in ns. */
static int64_t
bucket_end(int bucket)
{
	int			shift;

	if (bucket < SUBS)
		return bucket;
	shift = bucket / SUBS - 1;
	return ((INT64_C(1) + SUBS + bucket % SUBS) << shift) - 1;
}

static void
count_latency(Latencies *latencies, int64_t ns)
{
	latencies->count[bucket_of(ns)]++;
	latencies->requests++;
	if (ns > latencies->max)
		latencies->max = ns;
}

static void
add_latencies(Latencies *sum, const Latencies *part)
{
	for (int i = 0; i < BUCKETS; i++)
		sum->count[i] += part->count[i];
	sum->requests += part->requests;
	if (part->max > sum->max)
		sum->max = part->max;
}

/* The latency in ns that a share (0 to 1) of all requests did not exceed. */
static int64_t
percentile(const Latencies *latencies, double share)
{
	uint64_t	seen = 0;
	int64_t		end = 0;

	for (int i = 0; i < BUCKETS; i++)
	{
		seen += latencies->count[i];
		end = bucket_end(i);
		if (seen > 0 && seen >= share * latencies->requests)
			break;
	}
	return end < latencies->max ? end : latencies->max;
}

/* xorshift64; state is never 0. */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void
ask_for_all(void *session)
{
	for (int key = 0; key < BENCH_KEYS; key += options.which->batch)
		options.which->ask(session, key, BENCH_CHECK_BYTES);
}

static void
warm_up(void *session)
{
	int64_t		end = now_ns() + WARM_UP_NS;

	do
		ask_for_all(session);
	while (now_ns() < end);
}

/* The timed loop: the end of a request is the start of the next. */
static void
drive(Client *client, void *session)
{
	const BenchCase *which = options.which;
	uint64_t	random = UINT64_C(0x9E3779B97F4A7C15) * (client->number + 1);
	int64_t		before = client->started;
	int64_t		end = before + (int64_t) (options.seconds * NS_PER_SECOND);

	while (before < end)
	{
		int64_t		after;

		which->ask(session, (next_random(&random) >> 32) % BENCH_KEYS,
				   BENCH_CHECK_LENGTH);
		after = now_ns();
		count_latency(&client->latencies, after - before);
		before = after;
	}
	client->ended = before;
}

static void *
client_main(void *arg)
{
	Client	   *client = arg;
	void	   *session = options.which->open(options.which, options.target);

	warm_up(session);
	pthread_barrier_wait(&ready);
	client->started = now_ns();
	drive(client, session);
	options.which->close(session);
	return NULL;
}

static void
print_result(const Client *clients)
{
	Latencies  *sum = bench_alloc(sizeof(Latencies));
	int64_t		started = clients[0].started;
	int64_t		ended = clients[0].ended;
	double		seconds;

	for (int i = 0; i < options.clients; i++)
	{
		add_latencies(sum, &clients[i].latencies);
		if (clients[i].started < started)
			started = clients[i].started;
		if (clients[i].ended > ended)
			ended = clients[i].ended;
	}
	seconds = (double) (ended - started) / NS_PER_SECOND;
	printf("case=%s clients=%d seconds=%.3f requests=%llu rps=%.1f"
		   " p50_us=%.1f p99_us=%.1f max_us=%.1f\n",
		   options.which->name, options.clients, seconds,
		   (unsigned long long) sum->requests, sum->requests / seconds,
		   percentile(sum, 0.50) / 1e3, percentile(sum, 0.99) / 1e3,
		   sum->max / 1e3);
	free(sum);
}

static void
measure(void)
{
	Client	   *clients = bench_alloc(sizeof(Client) * options.clients);

	if (pthread_barrier_init(&ready, NULL, options.clients) != 0)
		bench_die("could not create a barrier");
	for (int i = 0; i < options.clients; i++)
	{
		Client	   *client = &clients[i];

		client->number = i;
		if (pthread_create(&client->thread, NULL, client_main, client) != 0)
			bench_die("could not start thread %d", i + 1);
	}
	for (int i = 0; i < options.clients; i++)
		pthread_join(clients[i].thread, NULL);
	print_result(clients);
	free(clients);
}

static void
load(void)
{
	void	   *session;

	if (options.which->load == NULL)
		bench_die("case \"%s\" has nothing to store", options.which->name);
	session = options.which->open(options.which, options.target);
	options.which->load(session);
	ask_for_all(session);
	options.which->close(session);
}

static void
give_up(int signo)
{
	static const char message[] = "bench_client: no end in sight, giving up\n";
	ssize_t		ignored = write(STDERR_FILENO, message, sizeof(message) - 1);

	(void) ignored;
	_exit(1);
}

static void
usage(void)
{
	fputs("usage: bench_client [-k first] [-c clients] [-t seconds] case target\n"
		  "       bench_client [-k first] -l case target\n", stderr);
	exit(2);
}

static void
parse_options(int argc, char **argv)
{
	int			c;

	options.first_key = 1;
	options.clients = 1;
	options.seconds = 2;
	while ((c = getopt(argc, argv, "c:k:lt:")) != -1)
	{
		switch (c)
		{
			case 'c':
				options.clients = atoi(optarg);
				break;
			case 'k':
				options.first_key = atoi(optarg);
				break;
			case 'l':
				options.load = true;
				break;
			case 't':
				options.seconds = atof(optarg);
				break;
			default:
				usage();
		}
	}
	if (argc - optind != 2 ||
		options.first_key < 1 || options.first_key > MAX_FIRST_KEY ||
		options.clients < 1 || options.clients > MAX_CLIENTS ||
		!(options.seconds > 0 && options.seconds <= MAX_SECONDS))
		usage();
	options.which = bench_postgres_case(argv[optind]);
	if (options.which == NULL)
		options.which = bench_redis_case(argv[optind]);
	if (options.which == NULL)
		bench_die("no case is named \"%s\"", argv[optind]);
	options.target = argv[optind + 1];
}

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	signal(SIGALRM, give_up);
	alarm(OVERHEAD_LIMIT + (unsigned) options.seconds);
	bench_data_init(options.first_key);
	if (options.load)
		load();
	else
		measure();
	return 0;
}
