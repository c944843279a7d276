/*-------------------------------------------------------------------------
 *
 * bench_data.c
 *	  The keys and values that both sides store and ask for.
 *
 * Filled once by bench_data_init before any thread starts, read-only after.
 * Key numbers wrap around at BENCH_KEYS, so that a batch may start at any.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "bench.h"

static char keys[BENCH_KEYS][BENCH_KEY_SIZE];
static size_t key_lengths[BENCH_KEYS];
static char values[BENCH_KEYS][BENCH_VALUE_SIZE];
static char empty_value[BENCH_VALUE_SIZE];

/* The keys are bench:<first> and those that follow. */
void
bench_data_init(int first)
{
	for (int i = 0; i < BENCH_KEYS; i++)
	{
		key_lengths[i] = snprintf(keys[i], sizeof(keys[i]), "bench:%d",
								  first + i);
		bench_value_fill(values[i], keys[i]);
	}
	bench_value_fill(empty_value, BENCH_EMPTY_KEY);
}

/* The key as a string that ends in NUL. */
const char *
bench_key(int key)
{
	return keys[key % BENCH_KEYS];
}

size_t
bench_key_length(int key)
{
	return key_lengths[key % BENCH_KEYS];
}

/* BENCH_VALUE_SIZE bytes, not ended by NUL. */
const char *
bench_value(int key)
{
	return values[key % BENCH_KEYS];
}

const char *
bench_empty_value(void)
{
	return empty_value;
}

/* Ends the program unless an answer is the expected value. */
void
bench_check(const char *what, const char *answer, size_t length,
			const char *expected, BenchCheck check)
{
	if (length != BENCH_VALUE_SIZE)
		bench_die("%s: answer of %zu bytes instead of %d",
				  what, length, BENCH_VALUE_SIZE);
	if (check == BENCH_CHECK_BYTES &&
		memcmp(answer, expected, BENCH_VALUE_SIZE) != 0)
		bench_die("%s: wrong answer, it begins with %.40s", what, answer);
}
