/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Upstreams as SQL/MED describes them: options of foreign servers and
 *	  user mappings of the wrapper wbcache_http.
 *
 * Layer 3.  One table describes the options of a server.  The validator and the
 * loader read them through the same functions, so that what the catalog holds
 * from times without a validator is refused when it is used.
 *
 * Values of user mapping options are secrets, and so is a base_url until it
 * is known to hold no password: no message here prints one.
 *
 * The validator runs in any backend, the loader in the fetcher, the check of
 * USAGE wherever endpoints are made.  All of them need a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <curl/curl.h>

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "server.h"

#define WRAPPER_NAME		"wbcache_http"

#define MINUTE_MS			(60 * 1000)
#define DAY_MS				(24 * 60 * MINUTE_MS)

/* How the text of an option is read, and the type of its field. */
typedef enum OptionKind
{
	OPTION_BASE_URL,			/* char * */
	OPTION_DURATION,			/* int, ms */
	OPTION_COUNT,				/* int */
	OPTION_RATE,				/* rate_requests and rate_window_ms */
	OPTION_BOOL,				/* bool */
	OPTION_FILE					/* char * */
} OptionKind;

typedef struct ServerOption
{
	const char *name;
	OptionKind	kind;
	size_t		offset;			/* of the field in WbcServer */
	int			min;			/* DURATION (ms) and COUNT only */
	int			max;
} ServerOption;

static const ServerOption server_options[] = {
	{"base_url", OPTION_BASE_URL, offsetof(WbcServer, base_url), 0, 0},
	{"timeout", OPTION_DURATION, offsetof(WbcServer, timeout_ms),
	1, 10 * MINUTE_MS},
	{"connect_timeout", OPTION_DURATION,
	offsetof(WbcServer, connect_timeout_ms), 1, 10 * MINUTE_MS},
	{"max_connections", OPTION_COUNT, offsetof(WbcServer, max_connections),
	1, 256},
	{"rate_limit", OPTION_RATE, 0, 0, 0},
	{"breaker_failures", OPTION_COUNT, offsetof(WbcServer, breaker_failures),
	1, 1000000},
	{"breaker_cooldown", OPTION_DURATION,
	offsetof(WbcServer, breaker_cooldown_ms), 1, DAY_MS},
	{"follow_redirects", OPTION_BOOL, offsetof(WbcServer, follow_redirects),
	0, 0},
	{"ca_file", OPTION_FILE, offsetof(WbcServer, ca_file), 0, 0}
};

static const char *const mapping_options[] = {
	"header", "header_2", "header_3", "header_4", "header_5", "header_6",
	"header_7", "header_8", "header_9"
};

/*
 * Header fields that describe the connection or the message, or that decide
 * what the answer means to the cache: they are set by the HTTP client alone.
 */
static const char *const reserved_headers[] = {
	"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host",
	"HTTP2-Settings", "If-Match", "If-Modified-Since", "If-None-Match",
	"If-Range", "If-Unmodified-Since", "Keep-Alive", "Proxy-Authorization",
	"Proxy-Connection", "Range", "TE", "Trailer", "Transfer-Encoding",
	"Upgrade"
};

PG_FUNCTION_INFO_V1(wbcache_http_validator);

static void
set_defaults(WbcServer *server)
{
	memset(server, 0, sizeof(WbcServer));
	server->timeout_ms = 5000;
	server->connect_timeout_ms = 3000;
	server->max_connections = 8;
	server->breaker_failures = 5;
	server->breaker_cooldown_ms = 30000;
}

/*
 * What is wrong with a base_url, in one sentence, or NULL.  A path must be
 * possible to append to it, and libcurl must agree that it is a URL.  *secret
 * is set if the trouble is that it holds a user name or password.
 *
 * libcurl's URL functions are pure parsing: they need no curl_global_init,
 * which belongs to the fetcher.
 */
static const char *
base_url_problem(const char *url, bool *secret)
{
	CURLU	   *parsed;
	CURLUcode	rc;

	*secret = false;
	for (const char *c = url; *c != '\0'; c++)
	{
		if (*c <= ' ' || *c >= 0x7f)
			return "It must consist of printable ASCII characters without spaces.";
	}
	if (pg_strncasecmp(url, "http://", 7) != 0 &&
		pg_strncasecmp(url, "https://", 8) != 0)
		return "It must begin with http:// or https://.";
	if (strpbrk(url, "?#") != NULL)
		return "It must not have a query or a fragment.";
	if (strstr(url, "://")[3] == '/' || strstr(url, "://")[3] == '\0')
		return "It must name a host.";

	parsed = curl_url();
	if (parsed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	rc = curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER);
	curl_url_cleanup(parsed);

	*secret = (rc == CURLUE_USER_NOT_ALLOWED);
	if (*secret)
		return "It must not hold a user name or a password.";
	if (rc != CURLUE_OK)
		return psprintf("It is not a URL: %s.", curl_url_strerror(rc));
	return NULL;
}

/* A copy of a valid base_url, without its trailing slashes; else throw. */
static char *
read_base_url(const char *option, const char *value)
{
	bool		secret;
	const char *problem = base_url_problem(value, &secret);
	size_t		len = strlen(value);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", option),
				 errdetail_internal("%s", problem),
				 secret ?
				 errhint("Put credentials into the option \"header\" of a user mapping.") :
				 errhint("Write it as in https://api.example.com/v3.")));

	while (value[len - 1] == '/')
		len--;
	return pnstrdup(value, len);
}

/*
 * Read a whole number, or with GUC_UNIT_MS a duration in PostgreSQL's syntax,
 * which is returned in ms.  option is the name to complain about.
 */
static int
read_int(const char *option, const char *value, int flags, int min, int max)
{
	const char *hint = NULL;
	int			result;

	if (!parse_int(value, &result, flags, &hint))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option, value),
				 hint != NULL ? errhint("%s", _(hint)) :
				 flags == GUC_UNIT_MS ?
				 errhint("Write a number and a unit, as in 500ms or 5s.") :
				 errhint("Write a whole number.")));
	if (result < min || result > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" is out of range for option \"%s\"",
						value, option),
				 errhint("Give a value from %d%s to %d%s.",
						 min, flags == GUC_UNIT_MS ? " ms" : "",
						 max, flags == GUC_UNIT_MS ? " ms" : "")));
	return result;
}

/*
 * Read requests/duration, as in 2500/15s.  The number may be left out of the
 * duration: 100/s is 100/1s.
 */
static void
read_rate(WbcServer *server, const char *option, const char *value)
{
	char	   *requests = pstrdup(value);
	char	   *duration = strchr(requests, '/');
	bool		valid = false;

	if (duration != NULL)
	{
		*duration++ = '\0';
		if (isalpha((unsigned char) *duration))
			duration = psprintf("1%s", duration);
		valid = parse_int(requests, &server->rate_requests, 0, NULL) &&
			parse_int(duration, &server->rate_window_ms, GUC_UNIT_MS, NULL) &&
			server->rate_requests > 0 &&
			server->rate_window_ms > 0 && server->rate_window_ms <= DAY_MS;
	}
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option, value),
				 errdetail("It must be a positive number of requests and a duration of at most one day."),
				 errhint("Write it as requests/duration, as in 2500/15s.")));
}

static bool
read_bool(const char *option, const char *value)
{
	bool		result;

	if (!parse_bool(value, &result))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option, value),
				 errhint("Write true or false.")));
	return result;
}

static char *
read_file_name(const char *option, const char *value)
{
	if (!is_absolute_path(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option, value),
				 errhint("Write an absolute path on the database server.")));
	return pstrdup(value);
}

/* Throw that there is no such option; valid names those there are. */
static void
refuse_option(const char *name, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 valid[0] != '\0' ?
			 errhint("Valid options in this context are: %s.", valid) :
			 errhint("There are no valid options in this context.")));
}

static const ServerOption *
find_server_option(const char *name)
{
	StringInfoData valid;

	for (int i = 0; i < lengthof(server_options); i++)
	{
		if (strcmp(server_options[i].name, name) == 0)
			return &server_options[i];
	}

	initStringInfo(&valid);
	for (int i = 0; i < lengthof(server_options); i++)
		appendStringInfo(&valid, "%s%s", i > 0 ? ", " : "",
						 server_options[i].name);
	refuse_option(name, valid.data);
	return NULL;				/* keep compiler quiet */
}

/* Put one option of a server into its field, or throw. */
static void
read_server_option(WbcServer *server, const char *name, const char *value)
{
	const ServerOption *option = find_server_option(name);
	char	   *field = (char *) server + option->offset;

	switch (option->kind)
	{
		case OPTION_BASE_URL:
			*(char **) field = read_base_url(name, value);
			break;
		case OPTION_DURATION:
			*(int *) field = read_int(name, value, GUC_UNIT_MS,
									  option->min, option->max);
			break;
		case OPTION_COUNT:
			*(int *) field = read_int(name, value, 0,
									  option->min, option->max);
			break;
		case OPTION_RATE:
			read_rate(server, name, value);
			break;
		case OPTION_BOOL:
			*(bool *) field = read_bool(name, value);
			break;
		case OPTION_FILE:
			*(char **) field = read_file_name(name, value);
			break;
	}
}

/* Put all options of a server into *server, which has its defaults. */
static void
read_server_options(WbcServer *server, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		read_server_option(server, def->defname, defGetString(def));
	}
	if (server->base_url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"base_url\" is required for servers of foreign-data wrapper \"%s\"",
						WRAPPER_NAME),
				 errhint("Write it as in OPTIONS (base_url 'https://api.example.com/v3').")));
	server->connect_timeout_ms = Min(server->connect_timeout_ms,
									 server->timeout_ms);
}

/* A token of RFC 9110, section 5.6.2? */
static bool
is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (IS_HIGHBIT_SET(c) ||
			(!isalnum(c) && strchr("!#$%&'*+-.^_`|~", c) == NULL))
			return false;
	}
	return len > 0;
}

/* Has text characters below space (tab included) or DEL? */
static bool
has_control_characters(const char *text)
{
	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++)
	{
		if (*c < ' ' || *c == 0x7f)
			return true;
	}
	return false;
}

/* Throw unless value is a header field that a mapping may add to requests. */
static void
check_header(const char *option, const char *value)
{
	const char *colon = strchr(value, ':');
	size_t		name_len = colon == NULL ? 0 : colon - value;
	const char *problem = NULL;

	if (has_control_characters(value))
		problem = "It must not hold line breaks or other control characters.";
	else if (!is_token(value, name_len))
		problem = "It must begin with the name of a header field and a colon.";
	else if (colon[1 + strspn(colon + 1, " ")] == '\0')
		problem = "The header field must have a value.";
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", option),
				 errdetail_internal("%s", problem),
				 errhint("Write it as in 'X-Api-Key: secret'.")));

	for (int i = 0; i < lengthof(reserved_headers); i++)
	{
		if (strlen(reserved_headers[i]) == name_len &&
			pg_strncasecmp(reserved_headers[i], value, name_len) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", option),
					 errdetail("The header field %s cannot be set by a user mapping.",
							   reserved_headers[i]),
					 errhint("Leave it out: the HTTP client sets it as needed.")));
	}
}

/* The header fields, as char *, that the options of a user mapping say. */
static List *
read_mapping_options(List *options)
{
	List	   *headers = NIL;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		int			i = 0;

		while (i < lengthof(mapping_options) &&
			   strcmp(mapping_options[i], def->defname) != 0)
			i++;
		if (i == lengthof(mapping_options))
			refuse_option(def->defname, "header, header_2 to header_9");
		check_header(def->defname, defGetString(def));
		headers = lappend(headers, pstrdup(defGetString(def)));
	}
	return headers;
}

/*
 * wbcache.wbcache_http_validator(options text[], catalog oid)
 *
 * Called with all options an object will have, also when ALTER names only
 * some.  So whoever alters a server that has a ca_file needs the right to
 * set it, as with the file name in file_fdw.
 */
Datum
wbcache_http_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	WbcServer	server;

	if (catalog == ForeignServerRelationId)
	{
		set_defaults(&server);
		read_server_options(&server, options);
		if (server.ca_file != NULL &&
			!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set option \"ca_file\""),
					 errdetail("Only superusers and members of the role pg_read_server_files may have the server read a file."),
					 errhint("Ask a superuser to define the foreign server.")));
	}
	else if (catalog == UserMappingRelationId)
		read_mapping_options(options);
	else if (options != NIL)
		refuse_option(linitial_node(DefElem, options)->defname, "");

	PG_RETURN_VOID();
}

/* The server of this name, if role may use it for endpoints; else throw. */
static ForeignServer *
find_server(const char *name, Oid role)
{
	ForeignServer *foreign = GetForeignServerByName(name, true);
	char	   *role_name;

	if (foreign == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("Create it with CREATE SERVER %s FOREIGN DATA WRAPPER %s OPTIONS (base_url '...').",
						 quote_identifier(name), WRAPPER_NAME)));

	if (strcmp(GetForeignDataWrapper(foreign->fdwid)->fdwname,
			   WRAPPER_NAME) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a server of foreign-data wrapper \"%s\"",
						name, WRAPPER_NAME),
				 errhint("Name a server that was created with FOREIGN DATA WRAPPER %s.",
						 WRAPPER_NAME)));

	if (wbc_compat_server_usage(foreign->serverid, role) == ACLCHECK_OK)
		return foreign;

	role_name = GetUserNameFromId(role, true);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for foreign server %s", name),
			 role_name == NULL ? 0 :
			 errhint("Grant it with GRANT USAGE ON FOREIGN SERVER %s TO %s.",
					 quote_identifier(name), quote_identifier(role_name))));
	return NULL;				/* keep compiler quiet */
}

/*
 * The headers of role's user mapping, or else of PUBLIC's; none without
 * either, which GetUserMapping would take for an error.
 */
static List *
load_headers(Oid serverid, Oid role)
{
	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(role),
							   ObjectIdGetDatum(serverid)) &&
		!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(InvalidOid),
							   ObjectIdGetDatum(serverid)))
		return NIL;
	return read_mapping_options(GetUserMapping(role, serverid)->options);
}

/*
 * A server with the headers of role, all in the current memory context.
 * Throws if there is none, if role lacks USAGE, or if the catalog holds
 * options that the validator would not have let pass.
 */
WbcServer *
wbc_server_load(const char *name, Oid role)
{
	ForeignServer *foreign = find_server(name, role);
	WbcServer  *server = palloc(sizeof(WbcServer));

	set_defaults(server);
	server->serverid = foreign->serverid;
	server->name = foreign->servername;
	read_server_options(server, foreign->options);
	server->headers = load_headers(foreign->serverid, role);
	return server;
}

/* Throw unless role may have endpoints with the server of this name. */
void
wbc_server_check_usage(const char *name, Oid role)
{
	find_server(name, role);
}
