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

extern void wbc_key_from_text(WbcKey *key, const text *from);
extern void wbc_key_make(WbcKey *key, Oid dbid, Oid scope,
						 const char *data, int len);

static inline bool
wbc_key_is(const WbcKey *key, Oid dbid, Oid scope, const char *data, int len)
{
	return key->dbid == dbid && key->scope == scope && key->len == len &&
		memcmp(key->data, data, len) == 0;
}

#endif							/* WBC_KEY_H */
