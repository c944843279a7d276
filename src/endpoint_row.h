/*-------------------------------------------------------------------------
 *
 * endpoint_row.h
 *	  One row of wbcache.endpoint: its layout, its rules, its compiled form.
 *
 * For endpoint.c, which reads the rows, endpoint_ddl.c, which writes them, and
 * endpoint_trigger.c, which looks at what was written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_ENDPOINT_ROW_H
#define WBC_ENDPOINT_ROW_H

#include "access/htup.h"
#include "endpoint.h"
#include "utils/rel.h"

/* The columns, in order; also the arguments of create and alter_endpoint. */
typedef enum WbcEndpointColumn
{
	WBC_ENDPOINT_NAME,
	WBC_ENDPOINT_PATTERN,
	WBC_ENDPOINT_SERVER,
	WBC_ENDPOINT_PATH,
	WBC_ENDPOINT_SOFT_TTL,
	WBC_ENDPOINT_HARD_TTL,
	WBC_ENDPOINT_MAX_STALE,
	WBC_ENDPOINT_ERROR_TTL,
	WBC_ENDPOINT_TAGS,
	WBC_ENDPOINT_ON_INVALIDATE,
	WBC_ENDPOINT_READERS,
	WBC_ENDPOINT_WRITERS,
	WBC_ENDPOINT_LOADER,
	WBC_ENDPOINT_NULL_IS_VALUE,
	WBC_ENDPOINT_STATEMENT_TIMEOUT,
	WBC_ENDPOINT_LOCK_TIMEOUT,
	WBC_ENDPOINT_OWNER
} WbcEndpointColumn;

#define WBC_ENDPOINT_COLUMNS	(WBC_ENDPOINT_OWNER + 1)

typedef struct WbcEndpointRow
{
	Datum		value[WBC_ENDPOINT_COLUMNS];
	bool		null[WBC_ENDPOINT_COLUMNS];
} WbcEndpointRow;

extern Oid	wbc_endpoint_row_type(WbcEndpointColumn column);
extern Oid	wbc_endpoint_row_table(void);
extern void wbc_endpoint_row_check_layout(Relation table);
extern void wbc_endpoint_row_deform(Relation table, HeapTuple tuple,
									WbcEndpointRow *row);
extern const char *wbc_endpoint_row_name(const WbcEndpointRow *row);
extern void wbc_endpoint_row_compile(const WbcEndpointRow *row,
									 WbcEndpoint *endpoint);
extern bool wbc_endpoint_row_try_compile(const WbcEndpointRow *row,
										 WbcEndpoint *endpoint);

#endif							/* WBC_ENDPOINT_ROW_H */
