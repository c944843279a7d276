/*-------------------------------------------------------------------------
 *
 * push.c
 *	  Tells others what was invalidated: by NOTIFY, and in the server log.
 *
 * Layer 4.  Called by the loaders, by each in every turn.  What is to be told is
 * in the journal, written by the transactions that have committed; they pay
 * nothing for its being sent.  One loader of a database sends at a time.
 *
 * A message is a JSON object of less than 8000 bytes:
 *
 *		{"epoch": "…", "first": 17, "lost": 0,
 *		 "events": [{"reason": "…", "kind": "…", "what": "…", "count": 1}, …]}
 *
 * Events are numbered; "first" is the number of the first one here, and "lost"
 * says how many before it were overwritten before they could be sent.  Where
 * "what" is null the event stands for many.  Who finds that something is
 * missing, or another epoch, which is that of the server's start, drops all
 * that it has.  So does who has just begun to listen.
 *
 * The keys of get_with_swr() are not sent: they are their role's business.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/async.h"
#include "commands/dbcommands.h"
#include "error.h"
#include "guc.h"
#include "journal.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "push.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/* While there is a channel it is looked this often, */
#define POLL_INTERVAL	(100 * 1000)

/* and else, for the rate. */
#define WATCH_INTERVAL	(1 * USECS_PER_SEC)

/* After an error. */
#define RETRY_INTERVAL	(10 * USECS_PER_SEC)

/* Events read at a time. */
#define BATCH			256

/* NOTIFY takes less than 8000 bytes; an event's room and the end of the object. */
#define PAYLOAD_MAX		7990
#define PAYLOAD_END		"]}"

static TimestampTz next_look = 0;

static bool
has_channel(void)
{
	return wbc_guc_notify_channel[0] != '\0' && !RecoveryInProgress();
}

/*
 * To be called once, before wbc_push_run(), outside of a transaction.
 */
void
wbc_push_prepare(void)
{
	StartTransactionCommand();
	wbc_journal_prepare();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
}

/* ----------------------------------------------------------------
 * NOTIFY.  In a transaction; what is allocated goes with it.
 * ----------------------------------------------------------------
 */

static void
begin_payload(StringInfo payload, uint64 first, uint64 lost)
{
	resetStringInfo(payload);
	appendStringInfo(payload,
					 "{\"epoch\": \"" UINT64_FORMAT "\", \"first\": " UINT64_FORMAT
					 ", \"lost\": " UINT64_FORMAT ", \"events\": [",
					 wbc_journal_epoch(), first, lost);
}

static void
write_event(StringInfo out, const WbcEvent *event)
{
	appendStringInfo(out, "{\"reason\": \"%s\", \"kind\": \"%s\", \"what\": ",
					 wbc_journal_reason_name(event->reason),
					 wbc_journal_target_name(event->target));
	if (event->len > 0)
		escape_json(out, pnstrdup(event->what, event->len));
	else
		appendStringInfoString(out, "null");
	appendStringInfo(out, ", \"count\": " UINT64_FORMAT "}", event->count);
}

static void
send_payload(StringInfo payload)
{
	appendStringInfoString(payload, PAYLOAD_END);
	Async_Notify(wbc_guc_notify_channel, payload->data);
}

static bool
is_public(const WbcEvent *event)
{
	return event->target != WBC_TARGET_OWN_KEY;
}

/*
 * Sends these events in as many messages as it takes.
 */
static void
send_events(const WbcEvent *events, int n, uint64 first, uint64 lost)
{
	StringInfoData payload;
	StringInfoData event;
	bool		empty = true;

	initStringInfo(&payload);
	initStringInfo(&event);
	begin_payload(&payload, first, lost);
	for (int i = 0; i < n; i++)
	{
		if (!is_public(&events[i]))
			continue;
		resetStringInfo(&event);
		write_event(&event, &events[i]);
		if (payload.len + event.len + strlen(", " PAYLOAD_END) > PAYLOAD_MAX)
		{
			send_payload(&payload);
			begin_payload(&payload, events[i].number, 0);
			empty = true;
		}
		if (!empty)
			appendStringInfoString(&payload, ", ");
		appendBinaryStringInfo(&payload, event.data, event.len);
		empty = false;
	}
	if (!empty || lost > 0)
		send_payload(&payload);
}

/*
 * Sends a batch.  Returns the number of its last event.
 */
static uint64
send_batch(uint64 sent)
{
	WbcEvent   *events = palloc(BATCH * sizeof(WbcEvent));
	uint64		lost;
	int			n = wbc_journal_read(sent, events, BATCH, &lost);

	send_events(events, n, sent + lost + 1, lost);
	return sent + lost + n;
}

/*
 * Returns whether there may be more.
 */
static bool
send_in_transaction(uint64 sent, TimestampTz now)
{
	volatile bool done = false;
	WbcError	error;

	PG_TRY();
	{
		uint64		last;

		StartTransactionCommand();
		last = send_batch(sent);
		CommitTransactionCommand();
		wbc_journal_set_sent(last);
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		wbc_error_catch(&error);
		AbortCurrentTransaction();
		next_look = now + RETRY_INTERVAL;
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("wbcache could not send invalidations by NOTIFY: %s",
						error.message),
				 errdetail("It is tried again in 10 s.")));
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	return done;
}

static void
send_all(TimestampTz now)
{
	uint64		sent;

	if (!wbc_journal_has_unsent(&sent) || !wbc_worker_begin_duty())
		return;
	while (wbc_journal_has_unsent(&sent) && send_in_transaction(sent, now))
		CHECK_FOR_INTERRUPTS();
	wbc_worker_end_duty();
	pgstat_report_stat(true);
}

/* ----------------------------------------------------------------
 * The log
 * ----------------------------------------------------------------
 */

static void
warn(TimestampTz now)
{
	uint64		rate;
	char	   *database;

	if (wbc_guc_alert_rate == 0 ||
		!wbc_journal_claim_warning(wbc_guc_alert_rate, now, &rate))
		return;

	StartTransactionCommand();
	database = get_database_name(MyDatabaseId);
	ereport(WARNING,
			(errmsg("database \"%s\" invalidates cached values at a high rate",
					database != NULL ? database : ""),
			 errdetail("There were " UINT64_FORMAT " invalidations within a minute; wbcache.invalidation_alert_rate is %d.",
					   rate, wbc_guc_alert_rate),
			 errhint("The views wbcache.stat_invalidation and wbcache.invalidation_events show reasons and keys.")));
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
}

/*
 * Tells what there is to tell, if it is time to look.  Returns when that is
 * again.
 */
TimestampTz
wbc_push_run(TimestampTz now)
{
	if (!wbc_is_time(next_look, now, WATCH_INTERVAL))
		return next_look;

	next_look = now + (has_channel() ? POLL_INTERVAL : WATCH_INTERVAL);
	warn(now);
	if (has_channel())
		send_all(now);
	return next_look;
}
