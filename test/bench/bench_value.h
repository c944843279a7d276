/*-------------------------------------------------------------------------
 *
 * bench_value.h
 *	  The one definition of a benchmark value, for the client and for the
 *	  empty function inside the server.
 *
 * A value is a JSON object of exactly BENCH_VALUE_SIZE bytes that names its
 * key, so that an answer for the wrong key can be told from the right one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_VALUE_H
#define BENCH_VALUE_H

#include <string.h>

/* Bytes in every value, in every case. */
#define BENCH_VALUE_SIZE	1024

/* The key named in the value that the empty function returns. */
#define BENCH_EMPTY_KEY		"empty"

/*
 * Writes the value of a key to buf, BENCH_VALUE_SIZE bytes without a closing
 * NUL.  The key must be short and need no escaping in JSON.
 */
static inline void
bench_value_fill(char *buf, const char *key)
{
	static const char head[] = "{\"key\":\"";
	static const char middle[] = "\",\"pad\":\"";
	static const char tail[] = "\"}";
	size_t		keylen = strlen(key);
	char	   *p = buf;

	memset(buf, 'x', BENCH_VALUE_SIZE);
	memcpy(p, head, sizeof(head) - 1);
	p += sizeof(head) - 1;
	memcpy(p, key, keylen);
	p += keylen;
	memcpy(p, middle, sizeof(middle) - 1);
	memcpy(buf + BENCH_VALUE_SIZE - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
}

#endif							/* BENCH_VALUE_H */
