/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between PostgreSQL 15, 16, 17 and 18, and nothing else.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_COMPAT_H
#define WBC_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "wbcache needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

static inline void
wbc_compat_prefetch(const void *address)
{
#if defined(__GNUC__) || defined(__clang__)
	__builtin_prefetch(address);
#endif
}

/* 16 replaced the per-catalog ACL checks by one. */
static inline AclResult
wbc_compat_server_usage(Oid serverid, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, serverid, role, ACL_USAGE);
#else
	return pg_foreign_server_aclcheck(serverid, role, ACL_USAGE);
#endif
}

static inline AclResult
wbc_compat_function_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE);
#endif
}

static inline bool
wbc_compat_owns_relation(Oid relation, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relation, role);
#else
	return pg_class_ownercheck(relation, role);
#endif
}

/* 18 wants to know whether a deferrable primary key will do. */
static inline Oid
wbc_compat_primary_key(Relation table)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(table, false);
#else
	(void) RelationGetIndexList(table);
	return table->rd_pkindex;
#endif
}

/* 18 can count what an index scan did. */
static inline IndexScanDesc
wbc_compat_index_beginscan(Relation table, Relation index, Snapshot snapshot,
						   int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(table, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(table, index, snapshot, nkeys, 0);
#endif
}

/* 17 gave extensions wait events with names of their own. */
static inline uint32
wbc_compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* 17 lets the caller bring the lexer's memory. */
static inline JsonLexContext *
wbc_compat_json_lexer(char *json, int len)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, json, len,
										GetDatabaseEncoding(), false);
#else
	return makeJsonLexContextCstringLen(json, len,
										GetDatabaseEncoding(), false);
#endif
}

/* 18 runs a portal no more than once. */
static inline void
wbc_compat_portal_run(Portal portal, DestReceiver *receiver,
					  QueryCompletion *completion)
{
#if PG_VERSION_NUM >= 180000
	(void) PortalRun(portal, FETCH_ALL, true, receiver, receiver, completion);
#else
	(void) PortalRun(portal, FETCH_ALL, true, true, receiver, receiver,
					 completion);
#endif
}

/* 17 gave a process's number a global of its own. */
static inline int
wbc_compat_my_procno(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

/* 17 ties a wait event set to a resource owner instead of a context. */
static inline WaitEventSet *
wbc_compat_wait_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

#endif							/* WBC_COMPAT_H */
