/*-------------------------------------------------------------------------
 *
 * endpoint_row.c
 *	  One row of wbcache.endpoint: its layout, its rules, its compiled form.
 *
 * Layer 3.  A row is checked by compiling it, with the same code when it is
 * written (by the table's trigger) and when it is read; so whatever is in the
 * table can be used without further checks.
 *
 * Nothing here looks at other rows: see endpoint_trigger.c for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "endpoint_row.h"
#include "miscadmin.h"
#include "statement.h"
#include "ttl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* Longest path and longest tag, as templates, in bytes. */
#define PATH_MAX_LEN	2000
#define TAG_MAX_LEN		WBC_KEY_MAX

/* In microseconds. */
#define ERROR_TTL_MAX	USECS_PER_HOUR
#define TIMEOUT_MAX		USECS_PER_HOUR

typedef struct Column
{
	const char *name;
	Oid			type;
	bool		nullable;
} Column;

static const Column columns[WBC_ENDPOINT_COLUMNS] = {
	[WBC_ENDPOINT_NAME] = {"name", NAMEOID, false},
	[WBC_ENDPOINT_PATTERN] = {"pattern", TEXTOID, false},
	[WBC_ENDPOINT_SERVER] = {"server", NAMEOID, true},
	[WBC_ENDPOINT_PATH] = {"path", TEXTOID, true},
	[WBC_ENDPOINT_SOFT_TTL] = {"soft_ttl", INTERVALOID, false},
	[WBC_ENDPOINT_HARD_TTL] = {"hard_ttl", INTERVALOID, false},
	[WBC_ENDPOINT_MAX_STALE] = {"max_stale", INTERVALOID, false},
	[WBC_ENDPOINT_ERROR_TTL] = {"error_ttl", INTERVALOID, false},
	[WBC_ENDPOINT_TAGS] = {"tags", TEXTARRAYOID, false},
	[WBC_ENDPOINT_ON_INVALIDATE] = {"on_invalidate", TEXTOID, false},
	[WBC_ENDPOINT_READERS] = {"readers", REGROLEARRAYOID, false},
	[WBC_ENDPOINT_WRITERS] = {"writers", REGROLEARRAYOID, false},
	[WBC_ENDPOINT_LOADER] = {"loader", TEXTOID, true},
	[WBC_ENDPOINT_NULL_IS_VALUE] = {"null_is_value", BOOLOID, false},
	[WBC_ENDPOINT_STATEMENT_TIMEOUT] = {"statement_timeout", INTERVALOID, false},
	[WBC_ENDPOINT_LOCK_TIMEOUT] = {"lock_timeout", INTERVALOID, false},
	[WBC_ENDPOINT_OWNER] = {"owner", REGROLEOID, false}
};

/* ----------------------------------------------------------------
 * Layout
 * ----------------------------------------------------------------
 */

Oid
wbc_endpoint_row_type(WbcEndpointColumn column)
{
	return columns[column].type;
}

/*
 * The table of this database, or InvalidOid when the extension isn't there.
 */
Oid
wbc_endpoint_row_table(void)
{
	return wbc_statement_table("endpoint");
}

/*
 * Throws unless the table has the columns that this library knows.  Columns
 * behind them are those of a later version, and ignored.
 */
void
wbc_endpoint_row_check_layout(Relation table)
{
	TupleDesc	desc = RelationGetDescr(table);
	bool		known = table->rd_rel->relkind == RELKIND_RELATION &&
		desc->natts >= WBC_ENDPOINT_COLUMNS;

	for (int i = 0; known && i < WBC_ENDPOINT_COLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		known = !att->attisdropped && att->atttypid == columns[i].type &&
			strcmp(NameStr(att->attname), columns[i].name) == 0;
	}

	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not the table of endpoints that this version of wbcache knows",
						RelationGetRelationName(table)),
				 errhint("Run ALTER EXTENSION wbcache UPDATE, or install the library that belongs to the extension's version.")));
}

/*
 * The table's layout was checked.  The values point into the tuple.
 */
void
wbc_endpoint_row_deform(Relation table, HeapTuple tuple, WbcEndpointRow *row)
{
	TupleDesc	desc = RelationGetDescr(table);
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	heap_deform_tuple(tuple, desc, values, nulls);
	memcpy(row->value, values, sizeof(row->value));
	memcpy(row->null, nulls, sizeof(row->null));
	pfree(values);
	pfree(nulls);
}

/*
 * The name, which is as long-lived as the row's values.
 */
const char *
wbc_endpoint_row_name(const WbcEndpointRow *row)
{
	if (row->null[WBC_ENDPOINT_NAME])
		return "";
	return NameStr(*DatumGetName(row->value[WBC_ENDPOINT_NAME]));
}

/* ----------------------------------------------------------------
 * Values of single columns
 * ----------------------------------------------------------------
 */

static void
check_nulls(const WbcEndpointRow *row)
{
	for (int i = 0; i < WBC_ENDPOINT_COLUMNS; i++)
		if (row->null[i] && !columns[i].nullable)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be NULL", columns[i].name),
					 errhint("Give a value for %s.", columns[i].name)));
}

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name is empty"),
				 errhint("Give a name such as 'props_categories'.")));
	if (wbc_pattern_has_control(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name contains a control character"),
				 errhint("Remove line breaks, tabs and other control characters from the name.")));
}

static int64
ttl(const WbcEndpointRow *row, WbcEndpointColumn column, int64 min, int64 max,
	const char *hint)
{
	return wbc_ttl_from_interval(DatumGetIntervalP(row->value[column]),
								 columns[column].name, min, max, hint);
}

static void
compile_ttls(const WbcEndpointRow *row, WbcEndpoint *endpoint)
{
	endpoint->soft_ttl = ttl(row, WBC_ENDPOINT_SOFT_TTL, 1, WBC_TTL_MAX,
							 "Give a time above zero and up to 100 years, such as '5 min'.");
	endpoint->hard_ttl = ttl(row, WBC_ENDPOINT_HARD_TTL, 1, WBC_TTL_MAX,
							 "Give a time that is not below soft_ttl, and up to 100 years, such as '10 min'.");
	endpoint->max_stale = ttl(row, WBC_ENDPOINT_MAX_STALE, 1, WBC_TTL_MAX,
							  "Give a time that is not below hard_ttl, and up to 100 years, such as '24 h'.");
	endpoint->error_ttl = ttl(row, WBC_ENDPOINT_ERROR_TTL, 0, ERROR_TTL_MAX,
							  "Give a time from zero to 1 hour, such as '1 s'.");

	wbc_ttl_check_order(endpoint->soft_ttl, endpoint->hard_ttl);
	if (endpoint->hard_ttl > endpoint->max_stale)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("hard_ttl is above max_stale"),
				 errdetail("While an upstream fails, values are kept beyond their hard TTL, up to max_stale."),
				 errhint("Give a max_stale that is at least hard_ttl.")));
}

/* Every '%' that the path itself contains begins an encoded byte. */
static void
check_percent(const char *path)
{
	for (const char *p = path; (p = strchr(p, '%')) != NULL; p++)
		if (!isxdigit((unsigned char) p[1]) || !isxdigit((unsigned char) p[2]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid path \"%s\"", path),
					 errdetail("The percent sign at byte %d does not begin an encoded byte.",
							   (int) (p - path) + 1),
					 errhint("Write %%25 for a percent sign.")));
}

static void
check_path(const WbcPattern *pattern, const char *path)
{
	if (strlen(path) > PATH_MAX_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("path is too long"),
				 errdetail("It has %zu bytes; the limit is %d.",
						   strlen(path), PATH_MAX_LEN),
				 errhint("Move its constant part to the server's base_url.")));
	for (const char *p = path; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '#' || *p == '\\')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("path contains a character that a URL can't have"),
					 errdetail("Byte %d is 0x%02x.",
							   (int) (p - path) + 1, (unsigned char) *p),
					 errhint("Percent-encode it, as in %%20 for a space.")));
	if (path[0] != '/')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("path \"%s\" does not start with a slash", path),
				 errhint("Give what follows the server's base_url, such as '/markets/active?fixture_id={fixture_id}'.")));
	check_percent(path);
	wbc_pattern_check_template(pattern, "path", path);
}

/*
 * Where the value comes from: a server with a path, a loader, or neither.
 */
static void
compile_source(const WbcEndpointRow *row, WbcEndpoint *endpoint)
{
	bool		has_server = !row->null[WBC_ENDPOINT_SERVER];
	bool		has_path = !row->null[WBC_ENDPOINT_PATH];

	if (has_server != has_path)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an endpoint with a %s needs a %s",
						has_server ? "server" : "path",
						has_server ? "path" : "server"),
				 errhint("Give both, or neither for an endpoint whose values come from a loader or by wbcache.set().")));
	if (has_server && endpoint->loader != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an endpoint has a server or a loader, not both"),
				 errhint("Take the other one away by giving '' for it.")));
	if (!has_server)
		return;

	namestrcpy(&endpoint->server,
			   NameStr(*DatumGetName(row->value[WBC_ENDPOINT_SERVER])));
	if (NameStr(endpoint->server)[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("server is empty"),
				 errhint("Name a server of the foreign-data wrapper wbcache_http.")));
	endpoint->path = TextDatumGetCString(row->value[WBC_ENDPOINT_PATH]);
	check_path(&endpoint->pattern, endpoint->path);
}

/*
 * The loader is looked for when it is called: it may be restored later than
 * this row, and dropped later.
 */
static void
compile_loader(const WbcEndpointRow *row, WbcEndpoint *endpoint)
{
	if (!row->null[WBC_ENDPOINT_LOADER])
		endpoint->loader = TextDatumGetCString(row->value[WBC_ENDPOINT_LOADER]);
	endpoint->null_is_value = DatumGetBool(row->value[WBC_ENDPOINT_NULL_IS_VALUE]);
	endpoint->statement_timeout = ttl(row, WBC_ENDPOINT_STATEMENT_TIMEOUT, 1, TIMEOUT_MAX,
									  "Give a time above zero and up to 1 hour, such as '30 s'.");
	endpoint->lock_timeout = ttl(row, WBC_ENDPOINT_LOCK_TIMEOUT, 1, TIMEOUT_MAX,
								 "Give a time above zero and up to 1 hour, such as '5 s'.");
}

/*
 * Takes apart an array of one dimension without NULLs.  Throws when it isn't
 * one.
 */
static int
elements(const WbcEndpointRow *row, WbcEndpointColumn column, Datum **result)
{
	ArrayType  *array = DatumGetArrayTypeP(row->value[column]);
	int			n;

	if (ARR_NDIM(array) > 1 || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s must be an array of one dimension without NULLs",
						columns[column].name),
				 errhint("Write it as ARRAY['first', 'second'], or '{}' for none.")));

	if (ARR_ELEMTYPE(array) == TEXTOID)
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
						  result, NULL, &n);
	else
		deconstruct_array(array, ARR_ELEMTYPE(array), sizeof(Oid), true,
						  TYPALIGN_INT, result, NULL, &n);
	return n;
}

static void
check_tag(const WbcPattern *pattern, const char *tag)
{
	if (tag[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tag is empty"),
				 errhint("Give a tag such as 'game:{fixture_id}'.")));
	if (strlen(tag) > TAG_MAX_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tag is too long"),
				 errdetail("It has %zu bytes; the limit is %d.",
						   strlen(tag), TAG_MAX_LEN),
				 errhint("Shorten the tag.")));
	if (wbc_pattern_has_control(tag))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tag contains a control character"),
				 errhint("Remove line breaks, tabs and other control characters from the tag.")));
	wbc_pattern_check_template(pattern, "tag", tag);
}

static void
compile_tags(const WbcEndpointRow *row, WbcEndpoint *endpoint)
{
	Datum	   *tags;

	endpoint->ntags = elements(row, WBC_ENDPOINT_TAGS, &tags);
	if (endpoint->ntags > WBC_TAGS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an endpoint can't have more than %d tags",
						WBC_TAGS_MAX),
				 errhint("Leave out the tags that nothing is invalidated by.")));

	endpoint->tags = palloc(sizeof(char *) * Max(endpoint->ntags, 1));
	for (int i = 0; i < endpoint->ntags; i++)
	{
		endpoint->tags[i] = TextDatumGetCString(tags[i]);
		check_tag(&endpoint->pattern, endpoint->tags[i]);
	}
}

static WbcOnInvalidate
on_invalidate(const WbcEndpointRow *row)
{
	char	   *word = TextDatumGetCString(row->value[WBC_ENDPOINT_ON_INVALIDATE]);

	if (strcmp(word, "remove") == 0)
		return WBC_ON_INVALIDATE_REMOVE;
	if (strcmp(word, "expire") == 0)
		return WBC_ON_INVALIDATE_EXPIRE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid on_invalidate \"%s\"", word),
			 errhint("Valid values are \"remove\" (an invalidated value is never served again) and \"expire\" (it is served as stale while it is refreshed).")));
}

static int
compile_roles(const WbcEndpointRow *row, WbcEndpointColumn column, Oid **roles)
{
	Datum	   *values;
	int			n = elements(row, column, &values);

	*roles = palloc(sizeof(Oid) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*roles)[i] = DatumGetObjectId(values[i]);
	return n;
}

/* ----------------------------------------------------------------
 * The whole row
 * ----------------------------------------------------------------
 */

/*
 * Fills in an endpoint, all but its counters.  What it points to is allocated
 * in the current memory context.  Throws, with a hint, when the row breaks a
 * rule.
 */
void
wbc_endpoint_row_compile(const WbcEndpointRow *row, WbcEndpoint *endpoint)
{
	memset(endpoint, 0, sizeof(*endpoint));
	check_nulls(row);

	namestrcpy(&endpoint->name,
			   NameStr(*DatumGetName(row->value[WBC_ENDPOINT_NAME])));
	check_name(NameStr(endpoint->name));
	endpoint->stripe = wbc_generation_stripe_of_endpoint(MyDatabaseId,
														 NameStr(endpoint->name));
	wbc_pattern_parse(TextDatumGetCString(row->value[WBC_ENDPOINT_PATTERN]),
					  &endpoint->pattern);
	compile_loader(row, endpoint);
	compile_source(row, endpoint);
	compile_ttls(row, endpoint);
	compile_tags(row, endpoint);
	endpoint->on_invalidate = on_invalidate(row);
	endpoint->nreaders = compile_roles(row, WBC_ENDPOINT_READERS,
									   &endpoint->readers);
	endpoint->nwriters = compile_roles(row, WBC_ENDPOINT_WRITERS,
									   &endpoint->writers);
	endpoint->owner = DatumGetObjectId(row->value[WBC_ENDPOINT_OWNER]);
}

/*
 * The same for a row that was written already.  One that breaks a rule, which
 * takes a disabled trigger, gets a WARNING and false.
 *
 * Rules are all that can be caught here: what wbc_endpoint_row_compile() does
 * leaves nothing behind but memory.
 */
bool
wbc_endpoint_row_try_compile(const WbcEndpointRow *row, WbcEndpoint *endpoint)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool good = true;

	PG_TRY();
	{
		wbc_endpoint_row_compile(row, endpoint);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category != ERRCODE_DATA_EXCEPTION &&
			category != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			category != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
			PG_RE_THROW();

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("endpoint \"%s\" is ignored: %s",
						wbc_endpoint_row_name(row), error->message),
				 errhint("Correct its row in table wbcache.endpoint, or delete it.")));
		good = false;
	}
	PG_END_TRY();

	return good;
}
