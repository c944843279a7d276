/*-------------------------------------------------------------------------
 *
 * error.h
 *	  Filling in errors that travel through shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_ERROR_H
#define WBC_ERROR_H

#include "wbcache.h"

extern void wbc_error_set(WbcError *error, int sqlstate,
						  const char *format,...) pg_attribute_printf(3, 4);
extern void wbc_error_detail(WbcError *error,
							 const char *format,...) pg_attribute_printf(2, 3);
extern void wbc_error_hint(WbcError *error,
						   const char *format,...) pg_attribute_printf(2, 3);
extern void wbc_error_catch(WbcError *error);
extern void wbc_error_throw(const WbcError *error) pg_attribute_noreturn();

#endif							/* WBC_ERROR_H */
