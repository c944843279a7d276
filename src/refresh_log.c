/*-------------------------------------------------------------------------
 *
 * refresh_log.c
 *	  What the server log says of fetches and loads.
 *
 * Layer 4, a part of refresh.c.  A success is worth a line at DEBUG1.  A failure
 * is worth one at LOG, but not each of a thousand: a process writes one for an
 * endpoint within LOG_INTERVAL, and the next one says how many it has passed
 * over.  The lines name the key, the endpoint, the server and the cause.  Neither
 * URL nor header is among them: those may hold what is secret.
 *
 * To be called when the flight has landed, so that nobody waits for the log, with
 * a copy of the key: the flight's own may be another one by then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "refresh.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define LOG_INTERVAL	(10 * USECS_PER_SEC)

/* Endpoints that are remembered; then all of them are forgotten. */
#define MOUTHS_MAX		1024

/* What a process has said of an endpoint. */
typedef struct Mouth
{
	NameData	endpoint;		/* hash key; must be first */
	TimestampTz spoke_at;
	uint64		swallowed;		/* since then */
} Mouth;

static HTAB *mouths = NULL;

static void
make_mouths(void)
{
	HASHCTL		info = {
		.keysize = sizeof(NameData),
		.entrysize = sizeof(Mouth),
		.hcxt = TopMemoryContext
	};

	mouths = hash_create("wbcache log", 16, &info,
						 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/*
 * May there be a line about this endpoint?  If so, says how many there were not
 * since the last one.
 */
static bool
may_speak(const NameData *endpoint, TimestampTz now, uint64 *swallowed)
{
	Mouth	   *mouth;
	bool		found;

	if (mouths != NULL && hash_get_num_entries(mouths) >= MOUTHS_MAX)
	{
		hash_destroy(mouths);
		mouths = NULL;
	}
	if (mouths == NULL)
		make_mouths();
	mouth = hash_search(mouths, NameStr(*endpoint), HASH_ENTER, &found);
	if (found && now >= mouth->spoke_at && now < mouth->spoke_at + LOG_INTERVAL)
	{
		mouth->swallowed++;
		return false;
	}
	*swallowed = found ? mouth->swallowed : 0;
	mouth->spoke_at = now;
	mouth->swallowed = 0;
	return true;
}

/*
 * Whose key it is, and who was to give the value.  The caller frees the data.
 */
static void
describe_origin(const WbcRefresh *refresh, const char *server, StringInfo out)
{
	const char *endpoint = NameStr(refresh->endpoint);

	initStringInfo(out);
	if (endpoint[0] == '\0')
		appendStringInfoString(out, "No endpoint");
	else
		appendStringInfo(out, "Endpoint \"%s\"", endpoint);
	if (server == NULL)
		appendStringInfoString(out, ", loader");
	else if (server[0] != '\0')
		appendStringInfo(out, ", server \"%s\"", server);
	appendStringInfoChar(out, '.');
}

void
wbc_refresh_log_success(const WbcRefresh *refresh, const WbcKey *key,
						const char *server, TimestampTz now)
{
	StringInfoData detail;

	if (!message_level_is_interesting(DEBUG1))
		return;
	describe_origin(refresh, server, &detail);
	ereport(DEBUG1,
			(errmsg_internal("refresh of \"%.*s\" succeeded after %.1f ms",
							 key->len, key->data,
							 (now - refresh->asked_at) / 1000.0),
			 errdetail_internal("%s", detail.data)));
	pfree(detail.data);
}

void
wbc_refresh_log_failure(const WbcRefresh *refresh, const WbcKey *key,
						const char *server, const WbcError *error,
						TimestampTz now)
{
	StringInfoData detail;
	uint64		swallowed;

	if (!may_speak(&refresh->endpoint, now, &swallowed))
		return;
	describe_origin(refresh, server, &detail);
	if (error->detail[0] != '\0')
		appendStringInfo(&detail, " %s", error->detail);
	if (swallowed > 0)
		appendStringInfo(&detail, " " UINT64_FORMAT " more failures of this endpoint were not logged since the last line.",
						 swallowed);
	ereport(LOG,
			(errcode(error->sqlstate),
			 errmsg("refresh of \"%.*s\" failed: %s", key->len, key->data,
					error->message),
			 errdetail_internal("%s", detail.data)));
	pfree(detail.data);
}

/*
 * For an ErrorContextCallback: what the line of another module is about.
 */
void
wbc_refresh_context(void *arg)
{
	const WbcRefresh *refresh = arg;

	errcontext("fetch of \"%.*s\" of endpoint \"%s\"",
			   refresh->key->len, refresh->key->data,
			   NameStr(refresh->endpoint));
}
