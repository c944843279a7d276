/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  Reads of the stress test.
 *
 * A reader takes the version of the table first, and the value then, by a
 * snapshot that is the same or a later one.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "stress.h"

/* What of a key went on while it was read. */
typedef struct Watch
{
	bool		open;
	int64_t		ended;
} Watch;

static void
watch_begin(Watch *watch, int key)
{
	watch->ended = ledger_moment(key, &watch->open);
}

static void
watch_end(Session *session, const Watch *watch, int key)
{
	bool		open;
	int64_t		ended = ledger_moment(key, &open);

	if (watch->open || open || ended != watch->ended)
		session->counts.overlaps++;
}

/* One statement, one snapshot, for the version and the value. */
void
reader_one(Session *session, int key)
{
	static const char *const by_kind[] = {"read", "read", "read", "read_private", "read_http", "read"};
	char		id[12];
	const char *values[] = {id, key_name(key)};
	Watch		watch;
	PGresult   *res;

	snprintf(id, sizeof(id), "%d", key);
	watch_begin(&watch, key);
	res = session_ask(session, by_kind[kind_of(key)], 2, values);
	watch_end(session, &watch, key);
	if (res == NULL)
		return;

	ledger_check(session, key,
				 &(Version) {result_int(res, 0, 0), result_int(res, 0, 1)},
				 &(Version) {result_int(res, 0, 2), result_int(res, 0, 3)},
				 PQgetisnull(res, 0, 4) ? NULL : PQgetvalue(res, 0, 4));
	PQclear(res);
}

static bool
take_floors(Session *session, Version *floors)
{
	PGresult   *res = session_ask(session, "floors", 0, NULL);

	if (res == NULL)
		return false;
	for (int key = 0; key < KEYS; key++)
		floors[key] = (Version) {result_int(res, key, 0), result_int(res, key, 1)};
	PQclear(res);
	return true;
}

/* The value alone, in a statement of its own. */
static void
get(Session *session, int key, const Version *floors)
{
	static const char *const by_kind[] = {"get", "get", "get", "get_private", "get_http", "get"};
	const char *values[] = {key_name(key)};
	Watch		watch;
	PGresult   *res;

	watch_begin(&watch, key);
	res = session_ask(session, by_kind[kind_of(key)], 1, values);
	watch_end(session, &watch, key);
	if (res == NULL)
		return;
	ledger_check(session, key, &floors[key],
				 &(Version) {result_int(res, 0, 0), result_int(res, 0, 1)}, NULL);
	PQclear(res);
}

/* The first keys of all kinds but those that are read in another way. */
static void
get_many(Session *session, const Version *floors)
{
	char		array[256] = "{";
	const char *values[] = {array};
	int			keys[KIND_SET + 1];
	Watch		watch[KIND_SET + 1];
	PGresult   *res;

	for (int i = 0; i <= KIND_SET; i++)
	{
		keys[i] = i * KEYS_PER_KIND + session_pick(session, LIVE_PER_KIND);
		strcat(array, i > 0 ? "," : "");
		strcat(array, key_name(keys[i]));
		watch_begin(&watch[i], keys[i]);
	}
	strcat(array, "}");
	res = session_ask(session, "get_many", 1, values);
	for (int i = 0; i <= KIND_SET; i++)
		watch_end(session, &watch[i], keys[i]);
	if (res == NULL)
		return;
	for (int i = 0; i <= KIND_SET; i++)
	{
		if (!PQgetisnull(res, i, 2))
			ledger_violation(session, "%s: %s", key_name(keys[i]),
							 PQgetvalue(res, i, 2));
		else
			ledger_check(session, keys[i], &floors[keys[i]],
						 &(Version) {result_int(res, i, 0), result_int(res, i, 1)},
						 NULL);
	}
	PQclear(res);
}

/* A few keys, within or without a transaction with one snapshot. */
void
reader_run(Session *session)
{
	Version		floors[KEYS];
	bool		repeatable = session_pick(session, 2) == 0;
	int			n = 1 + session_pick(session, 6);

	if (session_pick(session, 3) > 0)
	{
		reader_one(session, session_pick(session, KEYS));
		return;
	}
	if (repeatable)
		session_run(session, "BEGIN ISOLATION LEVEL REPEATABLE READ");
	if (take_floors(session, floors))
	{
		for (int i = 0; i < n; i++)
			get(session, session_pick(session, KEYS), floors);
		if (session_pick(session, 3) == 0)
			get_many(session, floors);
	}
	if (repeatable)
		session_run(session, "COMMIT");
}
