/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Statements of our own, run as the owner of our tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_STATEMENT_H
#define WBC_STATEMENT_H

#include "tcop/dest.h"
#include "utils/guc.h"
#include "wbcache.h"

/* Who the caller was; to be given back. */
typedef struct WbcStatementScope
{
	Oid			user;
	int			security;
	int			nest_level;
} WbcStatementScope;

extern Oid	wbc_statement_relation(const char *name);
extern Oid	wbc_statement_table(const char *name);
extern void wbc_statement_begin_reading(Oid view, WbcStatementScope *scope);
extern void wbc_statement_begin_superuser(WbcStatementScope *scope);
extern void wbc_statement_begin(const char *table, WbcStatementScope *scope);
extern uint64 wbc_statement_execute(const char *statement, int nparams,
									const Oid *types, const Datum *values,
									const char *nulls);
extern void wbc_statement_end(const WbcStatementScope *scope);

extern void wbc_statement_set(const char *name, const char *value,
							  GucAction action);

/* In processes of our own. */
typedef void (*WbcStatementWork) (void *arg);

extern bool wbc_statement_transaction(WbcStatementWork work, void *arg,
									  WbcError *error);
extern void wbc_statement_run(const char *statement, DestReceiver *receiver);

#endif							/* WBC_STATEMENT_H */
