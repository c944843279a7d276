/*-------------------------------------------------------------------------
 *
 * bench.h
 *	  What the driver (bench_client.c), the data (bench_data.c) and the two
 *	  sides (case_postgres.c, case_redis.c) share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "bench_value.h"

/* Distinct keys in use. */
#define BENCH_KEYS			1000

/* Bytes of the longest key, its NUL included. */
#define BENCH_KEY_SIZE		20

/* Keys in one request of the cases that ask for many. */
#define BENCH_BATCH			100

/* Seconds to wait for a connection. */
#define BENCH_CONNECT_TIMEOUT	5

/* How closely an answer is looked at. */
typedef enum BenchCheck
{
	BENCH_CHECK_LENGTH,			/* in the timed loop: its length only */
	BENCH_CHECK_BYTES			/* before it: every byte */
} BenchCheck;

/*
 * One way of asking for values.  A session belongs to one thread and has one
 * connection with at most one request on its way.  All callbacks end the
 * program with a message when anything is not as expected, so a result that
 * is printed contains right answers only.
 */
typedef struct BenchCase
{
	const char *name;
	int			batch;			/* keys in a request: 1 or BENCH_BATCH */

	/* Connects to target and prepares the request. */
	void	   *(*open) (const struct BenchCase *which, const char *target);

	/* Asks for batch keys from first_key on, and waits for the answer. */
	void		(*ask) (void *session, int first_key, BenchCheck check);

	/* Stores all keys for this case; NULL where there is nothing to store. */
	void		(*load) (void *session);

	void		(*close) (void *session);
	const void *detail;			/* for the side that implements the case */
} BenchCase;

/* bench_client.c */
extern void bench_die(const char *fmt,...)
			__attribute__((format(printf, 1, 2), noreturn));
extern void *bench_alloc(size_t size);

/* bench_data.c */
extern void bench_data_init(int first);
extern const char *bench_key(int key);
extern size_t bench_key_length(int key);
extern const char *bench_value(int key);
extern const char *bench_empty_value(void);
extern void bench_check(const char *what, const char *answer, size_t length,
						const char *expected, BenchCheck check);

/* case_postgres.c */
extern const BenchCase *bench_postgres_case(const char *name);

/* case_redis.c */
extern const BenchCase *bench_redis_case(const char *name);

#endif							/* BENCH_H */
