/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Making the identity of entries.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "key.h"
#include "miscadmin.h"

static void
hash_key(WbcKey *key)
{
	uint64		seed = hash_combine64((uint64) key->dbid << 32 | key->scope,
									  key->loader);

	key->hash = hash_bytes_extended((const unsigned char *) key->data,
									key->len, seed);
}

/*
 * Fills in a key of everyone's; len is at most WBC_KEY_MAX.
 */
void
wbc_key_make(WbcKey *key, Oid dbid, const char *data, int len)
{
	Assert(len <= WBC_KEY_MAX);
	key->dbid = dbid;
	key->scope = InvalidOid;
	key->loader = InvalidOid;
	key->len = len;
	memcpy(key->data, data, len);
	hash_key(key);
}

/*
 * The same key, of a role's own and made by a loader; InvalidOid for any.
 */
void
wbc_key_make_private(WbcKey *key, const WbcKey *from, Oid scope, Oid loader)
{
	wbc_key_copy(key, from);
	key->scope = scope;
	key->loader = loader;
	hash_key(key);
}

/*
 * Copies a key without the unused rest of its room.
 */
void
wbc_key_copy(WbcKey *to, const WbcKey *from)
{
	memcpy(to, from, offsetof(WbcKey, data) + from->len);
}

/*
 * The key a user named, in this database.  Throws when it can't be one.
 */
void
wbc_key_from_text(WbcKey *key, const text *from)
{
	const char *data = VARDATA_ANY(from);
	int			len = VARSIZE_ANY_EXHDR(from);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key is empty"),
				 errhint("Give a key such as 'props:categories:42'.")));
	if (len > WBC_KEY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key is too long"),
				 errdetail("It has %d bytes; the limit is %d.",
						   len, WBC_KEY_MAX),
				 errhint("Shorten the key, or use a hash of its long part.")));
	for (int i = 0; i < len; i++)
	{
		if (wbc_key_is_control(data[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key contains a control character"),
					 errdetail("Byte %d of the key is 0x%02x.", i + 1,
							   (unsigned char) data[i]),
					 errhint("Remove line breaks, tabs and other control characters from the key.")));
	}

	wbc_key_make(key, MyDatabaseId, data, len);
}

/*
 * Can this be a key at all?
 */
bool
wbc_key_is_possible(const char *data, int len)
{
	if (len == 0 || len > WBC_KEY_MAX)
		return false;
	for (int i = 0; i < len; i++)
		if (wbc_key_is_control(data[i]))
			return false;
	return true;
}

/*
 * Throws unless this, which the user named, can be a tag.
 */
void
wbc_key_check_tag(const text *tag)
{
	if (VARSIZE_ANY_EXHDR(tag) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tag is empty"),
				 errhint("Give a tag such as 'game:42'.")));
}
