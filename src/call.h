/*-------------------------------------------------------------------------
 *
 * call.h
 *	  Calling an SQL loader with the rights of the role it belongs to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_CALL_H
#define WBC_CALL_H

#include "pattern.h"
#include "wbcache.h"

typedef struct WbcCall
{
	Oid			function;		/* of type (text[]) returns json */
	Oid			role;			/* whose rights it has */
	const WbcParts *parts;		/* of the key */
	bool		null_is_value;	/* NULL is cached as JSON null */
	int64		statement_timeout;	/* microseconds */
	int64		lock_timeout;	/* microseconds, 0: none */
} WbcCall;

extern Oid	wbc_call_find(const char *signature);
extern char *wbc_call_qualify(const char *signature);
extern void wbc_call_check_type(Oid function);
extern void wbc_call_check_right(Oid function, Oid role);
extern text *wbc_call(const WbcCall *call);

#endif							/* WBC_CALL_H */
