/*-------------------------------------------------------------------------
 *
 * stress.h
 *	  What the parts of the stress test share.
 *
 *		stress.c	options, threads, the report
 *		writer.c	transactions that change versions and invalidate
 *		reader.c	reads whose answers are checked
 *		ledger.c	what is committed, and which answers are wrong
 *		session.c	one connection
 *		echo.c		requests to the test upstream
 *
 * Each key has a row in the table stress.version.  A transaction that changes
 * the row also invalidates the key, or sets its value.  What a key's value is
 * made from is that row, so a reader who has seen version v in the table must
 * get a value of version v or a later one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STRESS_H
#define STRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

/* Where a key's value comes from. */
typedef enum Kind
{
	KIND_FAST,					/* a loader that answers at once */
	KIND_SLOW,					/* a loader that looks first and then takes its
								 * time */
	KIND_SET,					/* set() and leases alone */
	KIND_PRIVATE,				/* get_with_swr() */
	KIND_HTTP,					/* the test upstream's echo */
	KIND_TRIGGER,				/* a loader; nothing but the trigger on the
								 * table of versions invalidates it */
	KINDS
} Kind;

/*
 * Keys of each kind.  The last one is quiet: only transactions and savepoints
 * that are rolled back invalidate it.
 */
#define KEYS_PER_KIND	5
#define KEYS			(KINDS * KEYS_PER_KIND)
#define LIVE_PER_KIND	(KEYS_PER_KIND - 1)

#define SESSIONS_MAX	64

static inline Kind
kind_of(int key)
{
	return key / KEYS_PER_KIND;
}

static inline bool
is_quiet(int key)
{
	return key % KEYS_PER_KIND == KEYS_PER_KIND - 1;
}

/* A version of a key, and who made it. */
typedef struct Version
{
	int64_t		v;				/* -1: there is no value */
	int64_t		token;			/* names one change in one transaction */
} Version;

/* What is counted; each session has its own. */
typedef struct Counts
{
	int64_t		steps;			/* statements */
	int64_t		reads;			/* answers that were checked */
	int64_t		overlaps;		/* of these, beside another session's
								 * transaction on the key that was open or
								 * ended meanwhile */
	int64_t		hits;			/* of these, served from memory */
	int64_t		commits;
	int64_t		rollbacks;
	int64_t		savepoints;		/* rolled back to */
	int64_t		leases;
	int64_t		writes;			/* changes of versions */
} Counts;

typedef struct Session
{
	int			number;
	uint64_t	random;
	PGconn	   *conn;
	int			echo;			/* socket to the test upstream, or -1 */
	Counts		counts;
	int			ntokens;		/* of the open transaction */
	int64_t		tokens[64];
	int			nkeys;			/* changed by the open transaction */
	int			keys[64];
	bool		quiet;			/* it has invalidated quiet keys */
} Session;

typedef struct Options
{
	int64_t		steps;			/* for all sessions together */
	int64_t		overlaps;		/* go on until there are so many, too */
	int			sessions;
	uint64_t	seed;
	const char *conninfo;
	int			echo_port;
	const char *echo_key;
} Options;

/* stress.c */
extern Options options;
extern void die(const char *fmt,...)
			__attribute__((format(printf, 1, 2), noreturn));

/* session.c */
extern const char *key_name(int key);
extern void session_open(Session *session);
extern void session_close(Session *session);
extern uint32_t session_pick(Session *session, uint32_t n);
extern PGresult *session_ask(Session *session, const char *statement,
							 int n, const char *const *values);
extern bool session_run(Session *session, const char *sql);
extern int64_t result_int(const PGresult *res, int row, int column);

/* echo.c */
extern void echo_open(Session *session);
extern int64_t echo_ask(Session *session, int key);
extern void echo_close(Session *session);

/* ledger.c */
extern void ledger_init(int64_t tokens);
extern int64_t ledger_token(Session *session, int key);
extern void ledger_begin_key(int key);
extern void ledger_end_key(int key);
extern void ledger_committing(Session *session);
extern void ledger_ended(Session *session, bool committed);
extern void ledger_cut(Session *session, int ntokens);
extern int64_t ledger_moment(int key, bool *open);
extern void ledger_check(Session *session, int key, const Version *floor,
						 const Version *value, const char *status);
extern void ledger_violation(Session *session, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
extern int64_t ledger_violations(void);

/* writer.c */
extern void writer_run(Session *session);
extern void writer_lease(Session *session);

/* reader.c */
extern void reader_one(Session *session, int key);
extern void reader_run(Session *session);

#endif							/* STRESS_H */
