/*-------------------------------------------------------------------------
 *
 * key.h
 *	  Making and comparing the identity of entries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_KEY_H
#define WBC_KEY_H

#include "wbcache.h"

/* No key has a control character in it. */
static inline bool
wbc_key_is_control(char c)
{
	return (unsigned char) c < 0x20 || c == 0x7f;
}

extern void wbc_key_from_text(WbcKey *key, const text *from);
extern bool wbc_key_is_possible(const char *data, int len);
extern void wbc_key_check_tag(const text *tag);
extern void wbc_key_make(WbcKey *key, Oid dbid, const char *data, int len);
extern void wbc_key_make_private(WbcKey *key, const WbcKey *from,
								 Oid scope, Oid loader);
extern void wbc_key_copy(WbcKey *to, const WbcKey *from);

static inline bool
wbc_key_equal(const WbcKey *a, const WbcKey *b)
{
	return a->hash == b->hash && a->dbid == b->dbid && a->scope == b->scope &&
		a->loader == b->loader && a->len == b->len &&
		memcmp(a->data, b->data, a->len) == 0;
}

#endif							/* WBC_KEY_H */
