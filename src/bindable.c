/*-------------------------------------------------------------------------
 *
 * bindable.c
 *	  What can be bound: a user's table, and the columns that it must have.
 *
 * Layer 4.  For bind.c, which says what is made of them.  A table is locked as
 * CREATE TRIGGER does, against its being changed between these checks and the
 * statements that follow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "bindable.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static const char *
what_it_is(char relkind)
{
	switch (relkind)
	{
		case RELKIND_VIEW:
			return "a view";
		case RELKIND_MATVIEW:
			return "a materialized view";
		case RELKIND_FOREIGN_TABLE:
			return "a foreign table";
		default:
			return "not a table";
	}
}

static void
check_kind(Relation relation)
{
	char		relkind = relation->rd_rel->relkind;

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is %s", RelationGetRelationName(relation),
						what_it_is(relkind)),
				 errdetail("Its changes can't be seen by triggers on rows."),
				 errhint("Name the table that its rows come from, in this database.")));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a temporary table",
						RelationGetRelationName(relation)),
				 errhint("Name a table that other sessions can see.")));
}

/* Throws unless the table is there, and the current role's. */
static void
check_owner(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", oid),
				 errhint("Name a table of this database.")));
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (!wbc_compat_owns_relation(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(form->relkind),
					   NameStr(form->relname));
	ReleaseSysCache(tuple);
}

/*
 * Locks the table for the rest of the transaction.  Throws unless it is the
 * current role's to bind.  Asks for the lock only if it is: others' writers
 * would queue behind it.  While it waits, the table may go or change hands.
 */
void
wbc_bindable_open(Oid oid, WbcBindable *table)
{
	Relation	relation;

	check_owner(oid);
	LockRelationOid(oid, ShareRowExclusiveLock);
	check_owner(oid);
	relation = relation_open(oid, NoLock);
	check_kind(relation);
	table->oid = oid;
	table->owner = relation->rd_rel->relowner;
	table->name =
		quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
								   RelationGetRelationName(relation));
	relation_close(relation, NoLock);
}

/* Is its text what people call it by: words, whole numbers, UUIDs? */
static bool
is_label(Oid type)
{
	char		category;
	bool		preferred;

	if (type == INT2OID || type == INT4OID || type == INT8OID || type == UUIDOID)
		return true;
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM;
}

static bool
is_moment(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID;
}

static bool
is_price(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID ||
		type == FLOAT4OID || type == FLOAT8OID || type == NUMERICOID;
}

const WbcBindableRule wbc_bindable_label = {is_label, "text, varchar, char, name, an enum, an integer or uuid"};
const WbcBindableRule wbc_bindable_moment = {is_moment, "timestamp with time zone, or timestamp (taken for UTC)"};
const WbcBindableRule wbc_bindable_price = {is_price, "numeric, an integer or a floating-point number"};

/*
 * The name, quoted, of the column that an argument names.  Throws unless the
 * table has such a column, of a type that fits.  base: set to the type.
 */
char *
wbc_bindable_column(const WbcBindable *table, const char *argument,
					const char *name, const WbcBindableRule *rule, Oid *base)
{
	AttrNumber	number = get_attnum(table->oid, name);
	Oid			type;

	if (number <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table %s does not exist",
						name, table->name),
				 errhint("Name a column of the table for %s.", argument)));
	type = get_atttype(table->oid, number);
	*base = getBaseType(type);
	if (!rule->fits(*base))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of type %s can't be the %s",
						name, format_type_be(type), argument),
				 errhint("Name a column whose type is %s.", rule->types)));
	return pstrdup(quote_identifier(name));
}
