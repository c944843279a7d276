/* sql/wbcache--0.1.sql: the install script, in sections that match the modules in src/ */

-- complain if the script is sourced in psql, rather than by CREATE EXTENSION
\echo Use "CREATE EXTENSION wbcache" to load this file. \quit

-- Functions of the schema are called with a superuser's rights. Who owns the schema could put better candidates for these
-- calls into it, and may have done so already. pg_restore makes the schema before the extension, and gives it to the role
-- that had made it.
DO $$
DECLARE
  path text DEFAULT pg_catalog.current_setting('search_path'::text);
  found record;
BEGIN
  -- From here on no name means anything of the schema.
  PERFORM pg_catalog.set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);
  SELECT r.rolname, d.object INTO found
    FROM (SELECT nspowner, NULL, 0 FROM pg_namespace WHERE oid = 'wbcache'::regnamespace
          UNION ALL
          SELECT s.refobjid, pg_describe_object(o.classid, o.objid, 0), 1
            FROM pg_depend o JOIN pg_shdepend s ON (s.classid, s.objid) = (o.classid, o.objid)
            WHERE (o.refclassid, o.refobjid) = ('pg_namespace'::regclass, 'wbcache'::regnamespace)
              AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o') d (owner, object, rank)
      JOIN pg_roles r ON r.oid = d.owner
    WHERE NOT r.rolsuper AND r.rolname <> current_user ORDER BY d.rank, d.object LIMIT 1;
  IF found.object IS NULL AND found.rolname IS NOT NULL THEN
    RAISE invalid_schema_definition USING MESSAGE = format('schema wbcache is owned by role "%s"', found.rolname),
      DETAIL = 'Its owner could put functions into it that are called with a superuser''s rights.',
      HINT = 'Look at what is in it, and drop it, or run ALTER SCHEMA wbcache OWNER TO CURRENT_USER.';
  ELSIF found.object IS NOT NULL THEN
    RAISE invalid_schema_definition
      USING MESSAGE = format('schema wbcache has something of role "%s": %s', found.rolname, found.object),
      DETAIL = 'It could be called with a superuser''s rights.',
      HINT = 'Look at what it is, and drop it, or move it into another schema.';
  END IF;
  PERFORM set_config('search_path', path, true);
END $$;

GRANT USAGE ON SCHEMA wbcache TO PUBLIC;
COMMENT ON SCHEMA wbcache IS 'stale-while-revalidate cache';

-- ---------------------------------------------------------------------------
-- Upstreams: the foreign-data wrapper
-- ---------------------------------------------------------------------------

CREATE FUNCTION wbcache.wbcache_http_validator(options text[], catalog oid) RETURNS void
    AS 'MODULE_PATHNAME', 'wbcache_http_validator'
    LANGUAGE C STRICT STABLE PARALLEL SAFE;

COMMENT ON FUNCTION wbcache.wbcache_http_validator(text[], oid) IS
'Checks the options of servers and user mappings of the wrapper wbcache_http; called by CREATE and ALTER, not by hand.
options: all options the object will have; catalog: the catalog it belongs to.
Errors: fdw_invalid_option_name, invalid_parameter_value, fdw_dynamic_parameter_value_needed without base_url,
insufficient_privilege for ca_file. They never show what a user mapping holds.';

-- No handler: its servers cannot have foreign tables.
CREATE FOREIGN DATA WRAPPER wbcache_http
    NO HANDLER
    VALIDATOR wbcache.wbcache_http_validator;

COMMENT ON FOREIGN DATA WRAPPER wbcache_http IS
'HTTP upstreams of wbcache endpoints. GRANT USAGE on it to those who may create servers, and on a server to those who
may create endpoints with it.
Options of a server: base_url (required; http or https), timeout (5s; 1ms to 10min), connect_timeout (3s, at most
timeout), max_connections (8; 1 to 256), rate_limit (none; requests/duration, as in 2500/15s), breaker_failures (5;
1 to 1000000), breaker_cooldown (30s; 1ms to 1d), follow_redirects (false; true: within the base URL''s scheme, host
and port), ca_file (the system''s certificates; absolute path, for members of pg_read_server_files). A duration
without a unit is in milliseconds.
Options of a user mapping: header, header_2 to header_9, each as in ''X-Api-Key: secret''. They are sent for endpoints
whose owner has the mapping; the mapping for PUBLIC serves those who have none of their own.';
/* ---------------------------------------------------------------------------
 * Endpoints: classes of keys
 * --------------------------------------------------------------------------- */

CREATE TABLE wbcache.endpoint (
	name name PRIMARY KEY,
	pattern text NOT NULL UNIQUE,
	server name,
	path text,
	soft_ttl interval NOT NULL,
	hard_ttl interval NOT NULL,
	max_stale interval NOT NULL DEFAULT '24 h',
	error_ttl interval NOT NULL DEFAULT '1 s',
	tags text[] NOT NULL DEFAULT '{}',
	on_invalidate text NOT NULL DEFAULT 'remove'
		CHECK (on_invalidate IN ('remove', 'expire')),
	readers regrole[] NOT NULL DEFAULT '{}',
	writers regrole[] NOT NULL DEFAULT '{}',
	loader text,
	null_is_value boolean NOT NULL DEFAULT false,
	statement_timeout interval NOT NULL DEFAULT '30 s',
	lock_timeout interval NOT NULL DEFAULT '5 s',
	owner regrole NOT NULL
);

COMMENT ON TABLE wbcache.endpoint IS 'Classes of keys: what a key looks like, where its value comes from, how long it lives, who may use it. Written by create_endpoint(), alter_endpoint() and drop_endpoint(); dumped by pg_dump.';
COMMENT ON COLUMN wbcache.endpoint.name IS 'name of the endpoint; also a tag that all of its values carry';
COMMENT ON COLUMN wbcache.endpoint.pattern IS 'what its keys look like: segments divided by colons, each a literal or a {parameter}; where several patterns match a key, the one with most literals has it';
COMMENT ON COLUMN wbcache.endpoint.server IS 'foreign server of the wrapper wbcache_http that values are fetched from; NULL: none';
COMMENT ON COLUMN wbcache.endpoint.path IS 'path and query below the server''s base_url, with {parameter} for parts of the key, which are percent-encoded; NULL without a server';
COMMENT ON COLUMN wbcache.endpoint.soft_ttl IS 'how long a value is fresh';
COMMENT ON COLUMN wbcache.endpoint.hard_ttl IS 'how long a value may be served at all: past soft_ttl it is served as stale while it is refreshed';
COMMENT ON COLUMN wbcache.endpoint.max_stale IS 'up to which age a stale value is kept while the upstream fails';
COMMENT ON COLUMN wbcache.endpoint.error_ttl IS 'how long a failed fetch is remembered, so that readers get its error at once';
COMMENT ON COLUMN wbcache.endpoint.tags IS 'tags that its values carry, with {parameter} for parts of the key; at most 16';
COMMENT ON COLUMN wbcache.endpoint.on_invalidate IS 'what an invalidated value is good for: "remove": it is never served again; "expire": it is served as stale while it is refreshed';
COMMENT ON COLUMN wbcache.endpoint.readers IS 'roles that may read its keys, besides the owner. A role that is dropped leaves its number here; alter_endpoint() takes it out.';
COMMENT ON COLUMN wbcache.endpoint.writers IS 'roles that may set, delete and invalidate its keys, besides the owner';
COMMENT ON COLUMN wbcache.endpoint.loader IS 'function that makes values, e.g. public.load_sidebar(text[]): takes the key''s segments, all of them, returns json; NULL: none';
COMMENT ON COLUMN wbcache.endpoint.null_is_value IS 'whether a loader''s NULL is cached as JSON null; else it is an error';
COMMENT ON COLUMN wbcache.endpoint.statement_timeout IS 'how long the loader may run';
COMMENT ON COLUMN wbcache.endpoint.lock_timeout IS 'how long the loader may wait for a lock';
COMMENT ON COLUMN wbcache.endpoint.owner IS 'role that may do everything with it, and whose user mapping is used at the server';

-- In another cluster, the number of a dropped role may be somebody's.
SELECT pg_catalog.pg_extension_config_dump('wbcache.endpoint', 'WHERE owner::oid IN (SELECT oid FROM pg_catalog.pg_roles)');

REVOKE ALL ON TABLE wbcache.endpoint FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.endpoint TO pg_monitor;

CREATE FUNCTION wbcache.endpoint_check() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_endpoint_check';
COMMENT ON FUNCTION wbcache.endpoint_check() IS 'trigger of wbcache.endpoint: refuses rows that break a rule, and patterns that could claim a key with equal right';
REVOKE ALL ON FUNCTION wbcache.endpoint_check() FROM PUBLIC;

CREATE FUNCTION wbcache.endpoint_changed() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_endpoint_changed';
COMMENT ON FUNCTION wbcache.endpoint_changed() IS 'trigger of wbcache.endpoint: when the change commits, makes every session go by it and invalidates the values that it makes outdated';
REVOKE ALL ON FUNCTION wbcache.endpoint_changed() FROM PUBLIC;

CREATE TRIGGER endpoint_check BEFORE INSERT OR UPDATE ON wbcache.endpoint
	FOR EACH ROW EXECUTE FUNCTION wbcache.endpoint_check();
CREATE TRIGGER endpoint_changed AFTER INSERT OR UPDATE OR DELETE ON wbcache.endpoint
	FOR EACH ROW EXECUTE FUNCTION wbcache.endpoint_changed();
CREATE TRIGGER endpoint_truncated BEFORE TRUNCATE ON wbcache.endpoint
	FOR EACH STATEMENT EXECUTE FUNCTION wbcache.endpoint_changed();
COMMENT ON TRIGGER endpoint_check ON wbcache.endpoint IS 'keeps the rules, whoever writes';
COMMENT ON TRIGGER endpoint_changed ON wbcache.endpoint IS 'makes a change known, whoever writes';
COMMENT ON TRIGGER endpoint_truncated ON wbcache.endpoint IS 'makes a TRUNCATE known, and invalidates everything';

-- On subscribers and in restores too.
ALTER TABLE wbcache.endpoint ENABLE ALWAYS TRIGGER endpoint_check;
ALTER TABLE wbcache.endpoint ENABLE ALWAYS TRIGGER endpoint_changed;
ALTER TABLE wbcache.endpoint ENABLE ALWAYS TRIGGER endpoint_truncated;

CREATE FUNCTION wbcache.create_endpoint(
	name name,
	pattern text,
	server name DEFAULT NULL,
	path text DEFAULT NULL,
	soft_ttl interval DEFAULT '1 min',
	hard_ttl interval DEFAULT NULL,
	max_stale interval DEFAULT NULL,
	error_ttl interval DEFAULT '1 s',
	tags text[] DEFAULT '{}',
	on_invalidate text DEFAULT 'remove',
	readers regrole[] DEFAULT '{}',
	writers regrole[] DEFAULT '{}',
	loader text DEFAULT NULL,
	null_is_value boolean DEFAULT false,
	statement_timeout interval DEFAULT '30 s',
	lock_timeout interval DEFAULT '5 s')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_create_endpoint';
COMMENT ON FUNCTION wbcache.create_endpoint(name, text, name, text, interval, interval, interval, interval, text[], text, regrole[], regrole[], text, boolean, interval, interval) IS
'Makes an endpoint; the current role owns it. It takes effect when the transaction commits.
name, pattern: required, e.g. ''props_categories'', ''props:categories:{fixture_id}''.
server, path: where values are fetched from, e.g. ''/markets/active?fixture_id={fixture_id}''; the role needs USAGE of the server. Neither, and no loader: values come by set() alone.
soft_ttl: how long a value is fresh (1 min). hard_ttl: how long it is served at all (2 x soft_ttl). max_stale: how old it may get while the upstream fails (24 h, or hard_ttl if that is longer). error_ttl: how long a failure is remembered (1 s; up to 1 h). A day counts 24 hours, a month 30 days.
tags: at most 16, e.g. ARRAY[''game:{fixture_id}'']. on_invalidate: ''remove'' or ''expire''. readers, writers: roles.
loader: instead of server and path, a function that makes values, e.g. ''public.load_sidebar(text[])''. It gets all segments of the key in order, as in {game,42} for the key game:42, returns json, and runs in a loader process as the endpoint''s owner, in a security-restricted context with search_path pg_catalog, pg_temp. null_is_value: its NULL is cached as JSON null instead of being an error. statement_timeout, lock_timeout: how long it may run (30 s) and wait for a lock (5 s), up to 1 h.
NULL stands for the default.
Errors: 22023 a rule is broken, 22004 name or pattern is NULL, 42710 the name is taken, 42P17 another pattern could claim the same keys with equal right, 42704 no such server or role, 42501 no USAGE of the server.';
REVOKE ALL ON FUNCTION wbcache.create_endpoint(name, text, name, text, interval, interval, interval, interval, text[], text, regrole[], regrole[], text, boolean, interval, interval) FROM PUBLIC;

CREATE FUNCTION wbcache.alter_endpoint(
	name name,
	pattern text DEFAULT NULL,
	server name DEFAULT NULL,
	path text DEFAULT NULL,
	soft_ttl interval DEFAULT NULL,
	hard_ttl interval DEFAULT NULL,
	max_stale interval DEFAULT NULL,
	error_ttl interval DEFAULT NULL,
	tags text[] DEFAULT NULL,
	on_invalidate text DEFAULT NULL,
	readers regrole[] DEFAULT NULL,
	writers regrole[] DEFAULT NULL,
	loader text DEFAULT NULL,
	null_is_value boolean DEFAULT NULL,
	statement_timeout interval DEFAULT NULL,
	lock_timeout interval DEFAULT NULL,
	owner regrole DEFAULT NULL)
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_alter_endpoint';
COMMENT ON FUNCTION wbcache.alter_endpoint(name, text, name, text, interval, interval, interval, interval, text[], text, regrole[], regrole[], text, boolean, interval, interval, regrole) IS
'Changes an endpoint, and invalidates all of its values when the transaction commits. For its owner.
Arguments are those of create_endpoint(); NULL leaves a property as it is. server => '''' takes server and path away.
owner: the new owner, a role that the current role is a member of; needs USAGE of the server.
Errors: those of create_endpoint(); 42704 no such endpoint; 42501 not its owner, or not a member of the new owner.';
REVOKE ALL ON FUNCTION wbcache.alter_endpoint(name, text, name, text, interval, interval, interval, interval, text[], text, regrole[], regrole[], text, boolean, interval, interval, regrole) FROM PUBLIC;

CREATE FUNCTION wbcache.drop_endpoint(
	name name,
	if_exists boolean DEFAULT false)
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_drop_endpoint';
COMMENT ON FUNCTION wbcache.drop_endpoint(name, boolean) IS
'Drops an endpoint, and with it all of its values when the transaction commits. For its owner.
if_exists: a NOTICE instead of an error when there is no such endpoint.
Errors: 22004 name is NULL, 42704 no such endpoint, 42501 not its owner.';
REVOKE ALL ON FUNCTION wbcache.drop_endpoint(name, boolean) FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Reading.  Open to everyone: each call checks that the role is the owner or
 * one of the readers of the key's endpoint.
 * --------------------------------------------------------------------------- */

CREATE TYPE wbcache.cache_status AS ENUM ('hit', 'stale', 'miss', 'collapsed', 'bypass');
COMMENT ON TYPE wbcache.cache_status IS
'How a read was answered. hit: fresh, from memory or the table. stale: past its soft TTL, or invalidated where the endpoint says expire, while it is refreshed. miss: this read started the fetch it waited for. collapsed: it waited for a fetch that others had asked for. bypass: the cache was not to be believed, because an invalidation was the transaction''s own or was being committed.';

CREATE FUNCTION wbcache.get(key text) RETURNS json
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_get';
COMMENT ON FUNCTION wbcache.get(text) IS
'The value of a key: from memory when it is fresh or stale, else fetched, waiting at most wbcache.max_wait.
key: at most 512 bytes, no control characters. NULL: NULL. Also NULL when the endpoint has no upstream and nothing was set.
Errors: 22023 no key, 42704 no endpoint for it, 42501 not a reader; WB001 the upstream failed, WB002 it is not asked now (breaker, rate limit), WB003 no answer within wbcache.max_wait, WB004 no worker serves the database or runs its loaders, WB005 too many fetches; 55000 the library is not preloaded, or the endpoint was changed by this transaction.';

CREATE FUNCTION wbcache.lookup(
	key text,
	OUT value json,
	OUT status wbcache.cache_status,
	OUT age interval,
	OUT ttl interval,
	OUT detail text)
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_lookup';
COMMENT ON FUNCTION wbcache.lookup(text) IS
'What get() returns, and how it came about: status; age of the value; ttl until it turns stale, negative when it is; detail in words.
Errors: those of get().';

CREATE FUNCTION wbcache.get_many(
	keys text[],
	OUT key text,
	OUT value json,
	OUT error text)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 100
	AS 'MODULE_PATHNAME', 'wbcache_get_many';
COMMENT ON FUNCTION wbcache.get_many(text[]) IS
'The values of many keys, a row for each in the given order. What must be fetched is fetched side by side, within one wbcache.max_wait. A fetch that fails leaves value NULL and says why in error; the other keys are answered all the same. A NULL key gets a row of NULLs.
Errors: those of get() that are about the key or the role; failed fetches are no errors here.';

CREATE FUNCTION wbcache.get_with_swr(
	key text,
	loader regprocedure,
	soft_ttl interval,
	hard_ttl interval)
	RETURNS json
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_get_with_swr';
COMMENT ON FUNCTION wbcache.get_with_swr(text, regprocedure, interval, interval) IS
'The value of a key that belongs to no endpoint, but to the calling role and a loader: from memory when it is fresh or stale, else made by the loader, waiting at most wbcache.max_wait. No other role can meet it. Not open to PUBLIC.
key: as for get(). loader: a function such as ''load_report(text[])'' that takes the key''s segments and returns json; it runs in a loader process as the calling role, in a security-restricted context with search_path pg_catalog, pg_temp, for at most 30 s. soft_ttl, hard_ttl: how long the value is fresh, and served at all. NULL: NULL.
Errors: those of get(), those of the loader; 22023 the key belongs to an endpoint; 42P13 the function can''t be a loader; 42501 no EXECUTE.';
REVOKE ALL ON FUNCTION wbcache.get_with_swr(text, regprocedure, interval, interval) FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * The table tier
 * --------------------------------------------------------------------------- */

-- Updates change no indexed column and find room in their page, so that they are HOT. VACUUM doesn't truncate: that takes
-- a lock for which no reader waits, so that what is in the table alone would be fetched meanwhile.
CREATE UNLOGGED TABLE wbcache.entry (
	key text COLLATE "C" NOT NULL,
	role oid NOT NULL,
	loader oid NOT NULL,
	endpoint name,
	value json NOT NULL,
	tags text[] NOT NULL,
	etag text,
	last_modified text,
	cached_at timestamptz NOT NULL,
	soft_expires_at timestamptz NOT NULL,
	hard_expires_at timestamptz NOT NULL,
	fetch_started timestamptz NOT NULL,
	fetch_ms float8 NOT NULL,
	source bigint NOT NULL,
	epoch bigint NOT NULL,
	stripes integer[] NOT NULL,
	generations bigint[] NOT NULL,
	PRIMARY KEY (key, role, loader)
) WITH (fillfactor = 70,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500,
	autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = false,
	toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_threshold = 500,
	toast.autovacuum_vacuum_cost_delay = 0, toast.vacuum_truncate = false);
REVOKE ALL ON TABLE wbcache.entry FROM PUBLIC;

COMMENT ON TABLE wbcache.entry IS 'The table tier: values beyond what memory holds, and for a warm start. Written and purged by the loaders; empty after a crash and on a standby. A row is of use while entry_is_current() says so and hard_expires_at is not over. It shows values to whoever may read it: grant with care.';
COMMENT ON COLUMN wbcache.entry.key IS 'the key';
COMMENT ON COLUMN wbcache.entry.role IS 'role it is private to, for get_with_swr(); 0: none';
COMMENT ON COLUMN wbcache.entry.loader IS 'function that made it, for get_with_swr(); 0: see the endpoint';
COMMENT ON COLUMN wbcache.entry.endpoint IS 'endpoint of the key when it was written; NULL: none';
COMMENT ON COLUMN wbcache.entry.value IS 'the value';
COMMENT ON COLUMN wbcache.entry.tags IS 'tags that its endpoint gives it';
COMMENT ON COLUMN wbcache.entry.etag IS 'ETag of the upstream''s answer';
COMMENT ON COLUMN wbcache.entry.last_modified IS 'Last-Modified of the upstream''s answer';
COMMENT ON COLUMN wbcache.entry.cached_at IS 'when the value was known to be good';
COMMENT ON COLUMN wbcache.entry.soft_expires_at IS 'when it turns stale';
COMMENT ON COLUMN wbcache.entry.hard_expires_at IS 'when it is not served any more';
COMMENT ON COLUMN wbcache.entry.fetch_started IS 'when its fetch began; a later one is never replaced by an earlier one';
COMMENT ON COLUMN wbcache.entry.fetch_ms IS 'how long its fetch took, in milliseconds';
COMMENT ON COLUMN wbcache.entry.source IS 'hash of the URL it came from';
COMMENT ON COLUMN wbcache.entry.epoch IS 'life of the generations that the row belongs to';
COMMENT ON COLUMN wbcache.entry.stripes IS 'stripes that the value depends on: everyone, patterns, key, endpoint, tags, games it is registered for';
COMMENT ON COLUMN wbcache.entry.generations IS 'what these stripes held before the fetch began';

CREATE FUNCTION wbcache.entry_is_current(key text, epoch bigint, stripes integer[], generations bigint[]) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'wbcache_entry_is_current';
COMMENT ON FUNCTION wbcache.entry_is_current(text, bigint, integer[], bigint[]) IS
'Whether a row of wbcache.entry, of which these are the columns, was not invalidated since. Not open to PUBLIC.
Errors: 55000 the library is not preloaded.';
REVOKE ALL ON FUNCTION wbcache.entry_is_current(text, bigint, integer[], bigint[]) FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Hot keys: what is fetched again when the cache was lost
 * --------------------------------------------------------------------------- */

-- Logged, so that it survives a crash; not dumped, since it is no configuration. Updates change no indexed column and find
-- room in their page, so that they are HOT.
CREATE TABLE wbcache.hot_key (
	key text COLLATE "C" PRIMARY KEY,
	endpoint name NOT NULL,
	uses bigint NOT NULL,
	noted_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
REVOKE ALL ON TABLE wbcache.hot_key FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.hot_key TO pg_monitor;
COMMENT ON TABLE wbcache.hot_key IS 'The keys that are used most, wbcache.hot_keys at most; no values. A loader compares it with memory every wbcache.hot_keys_interval, and fetches what is missing after a crash. It shows keys to whoever may read it.';
COMMENT ON COLUMN wbcache.hot_key.key IS 'the key';
COMMENT ON COLUMN wbcache.hot_key.endpoint IS 'endpoint of the key; when the key has another one, or none, the row goes';
COMMENT ON COLUMN wbcache.hot_key.uses IS 'how often it was used; a use counts half after 11 minutes. Written again when it has doubled since';
COMMENT ON COLUMN wbcache.hot_key.noted_at IS 'when that was written';

/* ---------------------------------------------------------------------------
 * Writing.  All of it takes effect when the transaction commits, and not at
 * all when it doesn't.
 * --------------------------------------------------------------------------- */

CREATE FUNCTION wbcache.set(
	key text,
	value json,
	soft_ttl interval DEFAULT NULL,
	hard_ttl interval DEFAULT NULL,
	tags text[] DEFAULT NULL,
	lease bigint DEFAULT NULL)
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_set';
COMMENT ON FUNCTION wbcache.set(text, json, interval, interval, text[], bigint) IS
'Stores a value when the transaction commits, unless somebody else''s invalidation of the key or of one of its tags is committed before. The transaction''s own invalidations before it do no harm, those after it do.
key, value: a NULL does nothing. soft_ttl, hard_ttl: from the commit on; NULL: those of the endpoint. tags: besides those of the endpoint; 16 in all. lease: what acquire() gave; the value is then stored under the generations of that moment, if they still hold at the commit, with the tags of the endpoint alone, and all who wait for it get it.
Errors: WB006 the lease is not valid any more; 22023 no key, an empty tag, tags with a lease, or TTLs out of range or order; 42704 no endpoint; 42501 not a writer; 54000 too many tags, or the value is above wbcache.max_value_size; 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.acquire(
	key text,
	lease_time interval DEFAULT '30 s',
	OUT value json,
	OUT status wbcache.cache_status,
	OUT lease bigint)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_acquire';
COMMENT ON FUNCTION wbcache.acquire(text, interval) IS
'For values that the application computes itself: the value if it is fresh; else exactly one caller gets a lease, computes the value and stores it with set(key, value, lease => lease). While a lease is out, others get the stale value, or wait for the new one, at most wbcache.max_wait; so does get(). A lease that was not used within lease_time (1 ms to 1 h), or whose key was invalidated, is free again.
value: NULL when there is none yet. lease: NULL when the caller has none. The role must be a reader and a writer of the endpoint, which must have neither server nor loader.
Errors: those of get(); 42501 not a writer; 42809 the endpoint gets its values itself; 22023 lease_time out of range.';

CREATE FUNCTION wbcache.delete(key text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_delete';
COMMENT ON FUNCTION wbcache.delete(text) IS
'Takes a key''s value out when the transaction commits, whatever its endpoint says about invalidated values.
Errors: 22023 no key, 42704 no endpoint, 42501 not a writer, 55000 the library is not preloaded.';

CREATE TYPE wbcache.invalidation_reason AS ENUM
	('STATUS_CHANGE', 'ODDS_MOVEMENT', 'CANCELLED', 'POSTPONED', 'MANUAL', 'SIDEBAR_REFRESH');
COMMENT ON TYPE wbcache.invalidation_reason IS
'Why something was invalidated, for stat_invalidation and invalidation_events; it makes no difference to what is invalidated.';

CREATE FUNCTION wbcache.invalidate(
	key text,
	reason wbcache.invalidation_reason DEFAULT 'MANUAL')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate';
COMMENT ON FUNCTION wbcache.invalidate(text, wbcache.invalidation_reason) IS
'Makes a key''s value, and any fetch of it that is under way, invalid when the transaction commits. The endpoint''s on_invalidate says whether it may still be served as stale.
key: NULL does nothing. reason: for the statistics; NULL: MANUAL.
Errors: 22023 no key, 42704 no endpoint, 42501 not a writer, 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.invalidate_own(
	key text,
	reason wbcache.invalidation_reason DEFAULT 'MANUAL')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_own';
COMMENT ON FUNCTION wbcache.invalidate_own(text, wbcache.invalidation_reason) IS
'Makes what get_with_swr() keeps under a key for the current role, whatever its loader, invalid when the transaction commits. Not open to PUBLIC.
key: NULL does nothing. reason: for the statistics; NULL: MANUAL.
Errors: 22023 no key, 55000 the library is not preloaded.';
REVOKE ALL ON FUNCTION wbcache.invalidate_own(text, wbcache.invalidation_reason) FROM PUBLIC;

CREATE FUNCTION wbcache.invalidate_tag(
	tag text,
	reason wbcache.invalidation_reason DEFAULT 'MANUAL')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_tag';
COMMENT ON FUNCTION wbcache.invalidate_tag(text, wbcache.invalidation_reason) IS
'Makes all values that carry a tag, and all fetches of such, invalid when the transaction commits. Costs the same for one value and for a million. Not open to PUBLIC: a tag can be carried by keys of any endpoint.
tag: the name of an endpoint is a tag of all its keys; NULL does nothing. reason: for the statistics; NULL: MANUAL.
Errors: 22023 the tag is empty, 55000 the library is not preloaded.';
REVOKE ALL ON FUNCTION wbcache.invalidate_tag(text, wbcache.invalidation_reason) FROM PUBLIC;

CREATE FUNCTION wbcache.invalidate_pattern(
	pattern text,
	reason wbcache.invalidation_reason DEFAULT 'MANUAL')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_pattern';
COMMENT ON FUNCTION wbcache.invalidate_pattern(text, wbcache.invalidation_reason) IS
'Makes the values of all keys of this database that match a pattern, and all fetches of such, invalid when the transaction commits; those too that are fetched between this call and the commit. Costs the same for one key and for a million: nothing is enumerated; each other value is compared once, when it is read next. What get_with_swr() keeps is not concerned. Not open to PUBLIC.
pattern: * stands for any characters, colons too, ? for one character, a backslash takes the meaning from what follows; up to 512 bytes; ''*'' is every key. NULL does nothing. reason: for the statistics; NULL: MANUAL.
The last 256 patterns of all databases are remembered: a value that was not read while so many were committed is fetched again. A transaction may use 16; with more of them it invalidates everything.
Errors: 22023 the pattern is empty or too long, 22025 it ends in the middle of an escape, 55000 the library is not preloaded.';
REVOKE ALL ON FUNCTION wbcache.invalidate_pattern(text, wbcache.invalidation_reason) FROM PUBLIC;

CREATE FUNCTION wbcache.clear() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_clear';
COMMENT ON FUNCTION wbcache.clear() IS
'Makes all values, and all fetches that are under way, invalid when the transaction commits: those of all databases of the server. Not open to PUBLIC.
Errors: 55000 the library is not preloaded.';
REVOKE ALL ON FUNCTION wbcache.clear() FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Games and sidebars: what belongs together in sports.  Not open to PUBLIC, as
 * invalidate_tag() isn't; register_cache_key() asks whether the role may write
 * the key.
 * --------------------------------------------------------------------------- */

CREATE FUNCTION wbcache.invalidate_game_cache(
	game_id text,
	reason wbcache.invalidation_reason DEFAULT 'MANUAL')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_game_cache';
COMMENT ON FUNCTION wbcache.invalidate_game_cache(text, wbcache.invalidation_reason) IS
'Makes all that belongs to a game invalid when the transaction commits: every value with the tag game:<game_id>; the keys odds:<status>:<game_id> for each status of the feed (unplayed, live, half, completed, cancelled, suspended, delayed, forfeited, invalid, postponed); the key props:categories:<game_id>; and the keys that register_cache_key() has tied to it. Endpoints whose keys have the game in them declare the tag, as in tags => ARRAY[''game:{fixture_id}'']. Nothing of another game is touched: an id with a colon in it can''t be a segment of a key, so that it has the tag and its registered keys only.
game_id: NULL does nothing. reason: for the statistics; NULL: MANUAL.
Errors: 22023 the id is empty, 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.invalidate_sidebar_cache(
	sport_id text DEFAULT NULL,
	league_id text DEFAULT NULL,
	reason wbcache.invalidation_reason DEFAULT 'SIDEBAR_REFRESH')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_sidebar_cache';
COMMENT ON FUNCTION wbcache.invalidate_sidebar_cache(text, text, wbcache.invalidation_reason) IS
'Makes the sidebars invalid, when the transaction commits, that show a league of a sport. Their keys are sidebar:<sport_id>:<league_id>, with all for what is not given; their endpoint carries the tags sidebar, sidebar:sport:{sport_id} and sidebar:league:{league_id}.
Both given: those of the league, of the sport, and of all. sport_id alone: those of the sport and all its leagues, and of all. league_id alone: those of the league in any sport, and all that show whole sports. Neither: every sidebar.
reason: for the statistics; NULL: SIDEBAR_REFRESH.
Errors: 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.invalidate_on_status_change(
	game_id text,
	old_status text,
	new_status text)
	RETURNS boolean
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_on_status_change';
COMMENT ON FUNCTION wbcache.invalidate_on_status_change(text, text, text) IS
'Does what invalidate_game_cache() does if the status has changed, for the odds under the old and the new status too where these are not of the feed. The reason is CANCELLED, POSTPONED or STATUS_CHANGE, by the new status.
game_id: NULL: NULL. old_status, new_status: NULL: none. Returns whether it did.
Errors: 22023 the id is empty, 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.invalidate_on_odds_movement(
	game_id text,
	old_odds double precision,
	new_odds double precision,
	threshold double precision DEFAULT NULL,
	by text DEFAULT 'price')
	RETURNS boolean
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_invalidate_on_odds_movement';
COMMENT ON FUNCTION wbcache.invalidate_on_odds_movement(text, double precision, double precision, double precision, text) IS
'Does what invalidate_game_cache() does if the odds have moved: if abs(new - old) / abs(old) is above the threshold. Where the old odds are NULL or 0, or the new ones are NULL, any difference is a movement. The reason is ODDS_MOVEMENT.
game_id: NULL: NULL. threshold: in percent; NULL: wbcache.odds_threshold. by: price compares the numbers; probability compares what they imply as American odds, where +100 and -100 are the same. Returns whether it did.
Errors: 22023 the id is empty, the threshold is negative, or another word for by; 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.register_cache_key(
	game_id text,
	key text)
	RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_register_cache_key';
COMMENT ON FUNCTION wbcache.register_cache_key(text, text) IS
'Ties a key to a game for 24 h from the last call: whenever the game is invalidated, so is the key. For keys whose endpoint doesn''t declare the tag game:{...}. It takes effect at once, whatever becomes of the transaction, and makes what the key has so far invalid unless it was tied to the game before; so any value read afterwards goes with the game, as if it carried the tag game:<game_id>. Call it before the value is set or read. It survives a clean restart of the server; after a crash or an immediate stop, which empty the cache too, call it again.
game_id, key: NULL does nothing. The role must be a writer of the key''s endpoint.
Errors: 22023 no key or id, 42704 no endpoint, 42501 not a writer, 54000 more than 8 games for the key or 32768 registrations in all, 55000 the library is not preloaded.';

REVOKE ALL ON FUNCTION
	wbcache.invalidate_game_cache(text, wbcache.invalidation_reason),
	wbcache.invalidate_sidebar_cache(text, text, wbcache.invalidation_reason),
	wbcache.invalidate_on_status_change(text, text, text),
	wbcache.invalidate_on_odds_movement(text, double precision, double precision, double precision, text)
	FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Sports layer: triggers on the user's own tables, for the tables' owners.
 * Not open to PUBLIC.
 * --------------------------------------------------------------------------- */

CREATE FUNCTION wbcache.classify_game_status(status text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'wbcache_classify_game_status';
COMMENT ON FUNCTION wbcache.classify_game_status(text) IS
'What a feed''s word for the state of a game means: unplayed, live, half, completed, cancelled, suspended, delayed, forfeited, invalid or postponed. Case and dividers don''t matter, and words of other feeds are known, such as scheduled, in_progress, halftime, final, canceled, ppd. An unknown word is returned as it is.';

CREATE FUNCTION wbcache.is_status_off(status text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'wbcache_is_status_off';
COMMENT ON FUNCTION wbcache.is_status_off(text) IS
'Whether a game with this status is over or off: completed, cancelled, suspended, forfeited, invalid or postponed, or another word for one of these, as classify_game_status() knows them. Not so for an unknown word.';

CREATE FUNCTION wbcache.events_changed() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_events_changed';
COMMENT ON FUNCTION wbcache.events_changed() IS 'function of the triggers that bind_events() makes';
REVOKE ALL ON FUNCTION wbcache.events_changed() FROM PUBLIC;

CREATE FUNCTION wbcache.odds_changed() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_odds_changed';
COMMENT ON FUNCTION wbcache.odds_changed() IS 'function of the triggers that watch_odds() makes';
REVOKE ALL ON FUNCTION wbcache.odds_changed() FROM PUBLIC;

-- Open to all: whoever updates a bound table evaluates it.
CREATE FUNCTION wbcache.differ(VARIADIC pairs "any") RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'wbcache_differ';
COMMENT ON FUNCTION wbcache.differ("any") IS
'Of pairs of an old and a new value, is one not the same to the last bit? NULL is the same as NULL. The condition of the triggers that bind_events() and watch_odds() make.';

CREATE FUNCTION wbcache.bind_events(
	relation regclass,
	game_id name,
	sport_id name,
	league_id name,
	status name,
	starts_at name,
	sport_name name DEFAULT NULL,
	league_name name DEFAULT NULL,
	home name DEFAULT NULL,
	away name DEFAULT NULL)
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_bind_events';
COMMENT ON FUNCTION wbcache.bind_events(regclass, name, name, name, name, name, name, name, name, name) IS
'Lets changes of a table of games invalidate, when they commit: a row that is inserted, deleted, or updated in one of the named columns does for its game what invalidate_game_cache() does, and for the sidebars of its sport and league what invalidate_sidebar_cache() does, before and after the change. Updates that change none of these columns cost and do next to nothing. TRUNCATE invalidates everything, and so do binding and unbinding, and attaching, detaching and dropping partitions. The triggers are ENABLE ALWAYS, so that they fire on a logical-replication subscriber too. Also makes, for the table''s owner, the view wbcache.events; the views sidebar_now and sidebar_data over it; the endpoint sidebar, unless another one claims its keys; and the task sidebar_refresh, if that role can log in. pg_dump carries all of them.
relation: a table or a partitioned table of the current role''s; one in a database. To bind it again replaces what was made. The others name its columns: game_id, sport_id, league_id, status and the optional four of type text, varchar, char, name, enum, integer or uuid, starts_at of type timestamptz or timestamp (taken for UTC).
Errors: 22004 relation or a required column is NULL, 42703 no such column, 42804 a column of another type, 42809 a view, foreign or temporary table, 42501 not its owner, 55000 another table is bound already.';

CREATE FUNCTION wbcache.unbind_events(relation regclass) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_unbind_events';
COMMENT ON FUNCTION wbcache.unbind_events(regclass) IS
'Takes away what bind_events() has made: the triggers, the views, the endpoint and the task. For the table''s owner.
Errors: 22004 relation is NULL, 42501 not its owner, 42704 not bound, 2BP01 something of yours depends on a view.';

CREATE FUNCTION wbcache.watch_odds(
	relation regclass,
	game_id name,
	price name,
	threshold double precision DEFAULT NULL,
	by text DEFAULT 'price')
	RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_watch_odds';
COMMENT ON FUNCTION wbcache.watch_odds(regclass, name, name, double precision, text) IS
'Lets changes of a table of odds invalidate, when they commit: a row that is inserted or deleted, comes to another game, or whose price moves by more than the threshold in one update, does for its game what invalidate_game_cache() does. TRUNCATE, partitions, ENABLE ALWAYS and pg_dump: as for bind_events().
relation: a table or a partitioned table of the current role''s; any number in a database. To watch it again replaces what was made. game_id: its column of type text, varchar, char, name, enum, integer or uuid. price: its column of type numeric, integer or floating point. threshold, by: as in invalidate_on_odds_movement(); a threshold of 0 takes every change of the price for a movement.
Errors: those of bind_events() but the last; 22023 the threshold is negative, or another word for by.';

CREATE FUNCTION wbcache.unwatch_odds(relation regclass) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_unwatch_odds';
COMMENT ON FUNCTION wbcache.unwatch_odds(regclass) IS
'Takes away the triggers that watch_odds() has made. For the table''s owner.
Errors: 22004 relation is NULL, 42501 not its owner, 42704 not watched.';

REVOKE ALL ON FUNCTION
	wbcache.bind_events(regclass, name, name, name, name, name, name, name, name, name),
	wbcache.unbind_events(regclass),
	wbcache.watch_odds(regclass, name, name, double precision, text),
	wbcache.unwatch_odds(regclass)
	FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Tasks
 * --------------------------------------------------------------------------- */

CREATE TABLE wbcache.task (
	name name PRIMARY KEY,
	"interval" interval NOT NULL,
	function text NOT NULL,
	owner regrole NOT NULL,
	timeout interval NOT NULL,
	driver text NOT NULL DEFAULT 'worker' CHECK (driver IN ('worker', 'cron')),
	cron_schedule text,
	cron_job bigint,
	next_start timestamptz,
	last_start timestamptz,
	last_end timestamptz,
	last_result text CHECK (last_result IN ('running', 'succeeded', 'failed', 'interrupted')),
	last_detail text,
	failures integer NOT NULL DEFAULT 0,
	runs bigint NOT NULL DEFAULT 0,
	run_id bigint
) WITH (fillfactor = 50);
REVOKE ALL ON TABLE wbcache.task FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.task TO pg_monitor;

COMMENT ON TABLE wbcache.task IS 'Functions that are run now and then. Written by schedule_task() and its like, and by the runs; dumped by pg_dump.';
COMMENT ON COLUMN wbcache.task.name IS 'name of the task';
COMMENT ON COLUMN wbcache.task."interval" IS 'time from the start of a run to the start of the next one';
COMMENT ON COLUMN wbcache.task.function IS 'function or procedure that is called';
COMMENT ON COLUMN wbcache.task.owner IS 'role that it is called as';
COMMENT ON COLUMN wbcache.task.timeout IS 'how long a run may take';
COMMENT ON COLUMN wbcache.task.driver IS 'who starts it: "worker": a worker of wbcache; "cron": pg_cron';
COMMENT ON COLUMN wbcache.task.cron_schedule IS 'when pg_cron starts it; NULL with driver "worker"';
COMMENT ON COLUMN wbcache.task.cron_job IS 'number of pg_cron''s job; NULL with driver "worker"';
COMMENT ON COLUMN wbcache.task.next_start IS 'when the worker starts it next; NULL with driver "cron". After a failure it comes sooner, with a delay that doubles each time.';
COMMENT ON COLUMN wbcache.task.last_start IS 'when the last run started; NULL before the first';
COMMENT ON COLUMN wbcache.task.last_end IS 'when it ended; NULL while it runs. An interrupted run ended before.';
COMMENT ON COLUMN wbcache.task.last_result IS 'running, succeeded, failed, or interrupted: its process has ended in the middle, by a shutdown, a crash, pg_terminate_backend(), or 5 s after its timeout';
COMMENT ON COLUMN wbcache.task.last_detail IS 'what the function has returned, as text, or its error; the first 1,000 bytes';
COMMENT ON COLUMN wbcache.task.failures IS 'runs since the last success that failed or were interrupted';
COMMENT ON COLUMN wbcache.task.runs IS 'runs that were started since the task was made';
COMMENT ON COLUMN wbcache.task.run_id IS 'names the last run';

SELECT pg_catalog.pg_extension_config_dump('wbcache.task', 'WHERE owner::oid IN (SELECT oid FROM pg_catalog.pg_roles)');

CREATE FUNCTION wbcache.schedule_task(
	name name,
	every interval,
	function regprocedure,
	timeout interval DEFAULT '10 min')
	RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_schedule_task';
COMMENT ON FUNCTION wbcache.schedule_task(name, interval, regprocedure, interval) IS
'Has a function or procedure without arguments run now and then, the first time when the transaction has committed. It runs in a process of its own, as the current role, which must be able to log in, with the settings of that role; a procedure may commit. Two runs of a task never overlap. A run fails by an error, or, to keep what it has written, by returning a text that begins with ''failed: ''. One that has failed or was interrupted is tried again after 10 s, 20 s, 40 s and so on, up to 5 minutes or its interval. At most 4 tasks of a database run at a time, others wait.
name: a task of this name that the role owns is replaced. every: from the start of a run to the start of the next one, 1 second to 366 days. function: e.g. ''public.refresh()''. timeout: how long a run may take (10 min), 1 ms to 1 day; if the function catches that and goes on, its process is ended 5 s later. NULL: does nothing.
Errors: 22023 name is empty, every or timeout is out of range; 42883 no such function; 42P13 it takes arguments; 42501 no EXECUTE, or a task of that name belongs to another role; 28000 the role can not log in.';
REVOKE ALL ON FUNCTION wbcache.schedule_task(name, interval, regprocedure, interval) FROM PUBLIC;

CREATE FUNCTION wbcache.unschedule_task(task name) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_unschedule_task';
COMMENT ON FUNCTION wbcache.unschedule_task(name) IS
'Drops a task, and its job in pg_cron if it has one. A run that is under way goes on. For the owner.
Errors: 42704 no such task, 42501 not its owner.';
REVOKE ALL ON FUNCTION wbcache.unschedule_task(name) FROM PUBLIC;

CREATE FUNCTION wbcache.schedule_with_cron(task name, schedule text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_schedule_with_cron';
COMMENT ON FUNCTION wbcache.schedule_with_cron(name, text) IS
'Hands a task over to pg_cron, which must be installed in this database. For the owner, who needs the right to use pg_cron.
schedule: in pg_cron''s words, e.g. ''*/5 * * * *''. Returns the number of pg_cron''s job, which calls run_task().
Errors: 42704 no such task, 42501 not its owner, 55000 pg_cron is not installed in this database; those of cron.schedule().';
REVOKE ALL ON FUNCTION wbcache.schedule_with_cron(name, text) FROM PUBLIC;

CREATE FUNCTION wbcache.schedule_with_worker(task name) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_schedule_with_worker';
COMMENT ON FUNCTION wbcache.schedule_with_worker(name) IS
'Takes a task back from pg_cron; the worker runs it again, at the interval it had. For the owner.
Errors: 42704 no such task, 42501 not its owner.';
REVOKE ALL ON FUNCTION wbcache.schedule_with_worker(name) FROM PUBLIC;

CREATE FUNCTION wbcache.run_task(task name) RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_run_task';
COMMENT ON FUNCTION wbcache.run_task(name) IS
'Runs a task now, in a process of its own, and waits for its end. For the owner. A caller that leaves early leaves the run to itself.
Returns what the function has returned, as text; NULL, with a notice, when the task was running already.
Errors: WB007 the run failed; WB003 it has not ended within its timeout and 30 s; 42704 no such task, 42501 not its owner, 53400 no worker slot is free, 55000 the task was changed by this transaction, 25001 the transaction keeps its snapshot.';
REVOKE ALL ON FUNCTION wbcache.run_task(name) FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Sidebar: what bind_events() makes over wbcache.events, and what reads it
 * --------------------------------------------------------------------------- */

CREATE TABLE wbcache.sport_weight (
	sport_id text PRIMARY KEY,
	weight integer NOT NULL CHECK (weight BETWEEN 0 AND 99999)
);
REVOKE ALL ON TABLE wbcache.sport_weight FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.sport_weight TO PUBLIC;
COMMENT ON TABLE wbcache.sport_weight IS 'How far up sports come in the sidebar, all else being equal. Yours to write; dumped by pg_dump. A change invalidates the sidebar.';
COMMENT ON COLUMN wbcache.sport_weight.sport_id IS 'id of the sport, as text';
COMMENT ON COLUMN wbcache.sport_weight.weight IS '0 to 99999; a sport without a row has 0';
SELECT pg_catalog.pg_extension_config_dump('wbcache.sport_weight', '');

CREATE FUNCTION wbcache.sport_weight_changed() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_sport_weight_changed';
COMMENT ON FUNCTION wbcache.sport_weight_changed() IS 'function of the trigger of wbcache.sport_weight';
REVOKE ALL ON FUNCTION wbcache.sport_weight_changed() FROM PUBLIC;
CREATE TRIGGER sport_weight_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON wbcache.sport_weight
	FOR EACH STATEMENT EXECUTE FUNCTION wbcache.sport_weight_changed();
ALTER TABLE wbcache.sport_weight ENABLE ALWAYS TRIGGER sport_weight_changed;
COMMENT ON TRIGGER sport_weight_changed ON wbcache.sport_weight IS 'invalidates the sidebar';

CREATE TABLE wbcache.sidebar_refresh_log (
	started timestamptz NOT NULL,
	duration interval NOT NULL,
	rows bigint,
	games bigint,
	triggered_by text NOT NULL,
	error text,
	alert_triggered boolean NOT NULL,
	epoch bigint,
	generations bigint[]
);
CREATE INDEX sidebar_refresh_log_started ON wbcache.sidebar_refresh_log (started);
COMMENT ON INDEX wbcache.sidebar_refresh_log_started IS 'for the latest refreshes';
REVOKE ALL ON TABLE wbcache.sidebar_refresh_log FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.sidebar_refresh_log TO pg_monitor;
COMMENT ON TABLE wbcache.sidebar_refresh_log IS 'The last 1,000 refreshes of sidebar_data, written by refresh_sidebar_data(). A call that finds nothing to do writes no row.';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.started IS 'when it started';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.duration IS 'how long it took';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.rows IS 'leagues that sidebar_data has; NULL: it failed';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.games IS 'games in them; NULL: it failed';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.triggered_by IS 'task: by a run of a task, pg_cron''s too; call: by a client';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.error IS 'why it failed; NULL: it did not';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.alert_triggered IS 'whether it took longer than wbcache.sidebar_alert_time';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.epoch IS 'names the life of the counters below; NULL: it failed, or its transaction kept its snapshot';
COMMENT ON COLUMN wbcache.sidebar_refresh_log.generations IS 'what they held before it: if they hold it still, nothing has changed since';

/*
 * A league with live games comes before any without, and more live games before
 * fewer; then what starts within 24 hours, sooner before later, by the minute;
 * then the sport's weight.
 */
CREATE FUNCTION wbcache.sidebar_priority(live_games bigint, next_start timestamptz, weight integer, at timestamptz)
	RETURNS bigint
	LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE
	RETURN least(live_games, 999999) * 1000000000
		+ CASE WHEN next_start > at AND next_start < at + interval '24 hours'
			THEN 1440 - floor(extract(epoch FROM next_start - at) / 60)::bigint ELSE 0 END * 100000
		+ coalesce(weight, 0);
COMMENT ON FUNCTION wbcache.sidebar_priority(bigint, timestamptz, integer, timestamptz) IS
'How far up a league or sport comes in the sidebar: higher is first. Live games x 10^9, plus 10^5 for each minute that the next start is less than 24 hours away, plus the weight.
live_games: how many. next_start: of those to come; NULL: none. weight: of the sport in sport_weight; NULL: 0. at: the time that it is wanted for.';

CREATE FUNCTION wbcache.sidebar_state() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_sidebar_state';
COMMENT ON FUNCTION wbcache.sidebar_state() IS
'Whether sidebar_data has all that is committed: current; behind: something has changed since its refresh, or may have; not populated; missing. A start that has passed since is no change here.
Errors: 42P01 the extension is gone.';

CREATE FUNCTION wbcache.sidebar_fallback() RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_sidebar_fallback';
COMMENT ON FUNCTION wbcache.sidebar_fallback() IS
'Counts a load of the sidebar that had to do without sidebar_data. For load_sidebar(); does nothing for other roles than the owner of wbcache.events.';

CREATE FUNCTION wbcache.refresh_sidebar_data() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_refresh_sidebar_data';
COMMENT ON FUNCTION wbcache.refresh_sidebar_data() IS
'Refreshes sidebar_data concurrently if something has changed since the last time, or a start that it shows has passed; and makes the cached sidebars invalid when the transaction commits. Nobody who reads waits for it. Waits 5 s at most for a lock, unless lock_timeout is set. For the owner of sidebar_data.
Returns "refreshed: ..."; "none: ..." where there was nothing to do, or another refresh is under way; "failed: ..." with the error, which is a warning too, and in sidebar_refresh_log.
Errors: 55000 there is no sidebar_data, or the library is not preloaded; 42501 not its owner; 25006 read-only; 57014 cancelled.';

/*
 * What sidebar_data has is right while it is current and no start has passed;
 * else the events are asked. Where one of them is locked, the other one has to do.
 * What is known to be old is good for those who wait, but not kept: to invalidate
 * its own key makes a loader's value invalid.  What a read takes is the bytes of
 * its value: hence short names, no priorities, which the order says, and not
 * json_agg(), which adds line breaks.
 */
CREATE FUNCTION wbcache.load_sidebar(parts text[]) RETURNS json
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s'
	SET TimeZone = 'UTC'
AS $$
DECLARE
	query CONSTANT text := $q$
		SELECT json_build_object('source', $3, 'made_at', now(), 'sports',
			('[' || coalesce(string_agg((SELECT row_to_json(shown)::text FROM (SELECT nullif(s.sport_id, '') AS id,
					s.sport_name AS name, s.games, s.live_games, s.starts AS next_start, s.leagues) shown), ','
				ORDER BY s.priority DESC, s.sport_name, s.sport_id), '') || ']')::json)
		FROM (
			SELECT l.sport_id, min(l.sport_name) AS sport_name, sum(l.games) AS games, sum(l.live_games) AS live_games,
				replace(to_json(min(l.next_start))::text, '+00:00', 'Z')::json AS starts,
				wbcache.sidebar_priority(sum(l.live_games)::bigint, min(l.next_start), max(l.weight), now()) AS priority,
				('[' || string_agg((SELECT row_to_json(shown)::text FROM (SELECT nullif(l.league_id, '') AS id,
						l.league_name AS name, l.games, l.live_games, l.starts AS next_start) shown), ','
					ORDER BY l.priority DESC, l.league_name, l.league_id) || ']')::json AS leagues
			FROM (
				SELECT d.sport_id, d.sport_name, d.league_id, d.league_name, d.games, d.live_games, d.next_start, w.weight,
					replace(to_json(d.next_start)::text, '+00:00', 'Z')::json AS starts,
					wbcache.sidebar_priority(d.live_games, d.next_start, w.weight, now()) AS priority
				FROM wbcache.%I d LEFT JOIN wbcache.sport_weight w ON w.sport_id = d.sport_id
				WHERE ($1 IS NULL OR d.sport_id = $1) AND ($2 IS NULL OR d.league_id = $2)) l
			GROUP BY l.sport_id) s
		$q$;
	sport CONSTANT text := nullif(parts[2], 'all');
	league CONSTANT text := nullif(parts[3], 'all');
	state text := wbcache.sidebar_state();
	passed boolean;
	result json;
BEGIN
	IF state IN ('missing', 'not populated') THEN
		IF to_regclass('wbcache.sidebar_now') IS NULL THEN
			RAISE 'no table of events is bound'
				USING ERRCODE = 'undefined_object', HINT = 'Call wbcache.bind_events() with it.';
		END IF;
		PERFORM wbcache.sidebar_fallback();
	END IF;
	BEGIN
		IF state = 'current' THEN
			SELECT EXISTS (SELECT FROM wbcache.sidebar_data d WHERE d.next_start <= now()) INTO passed;
			IF NOT passed THEN
				EXECUTE format(query, 'sidebar_data') INTO result USING sport, league, 'sidebar_data';
				RETURN result;
			END IF;
			state := 'behind';
		END IF;
		EXECUTE format(query, 'sidebar_now') INTO result USING sport, league, 'events: sidebar_data is ' || state;
		RETURN result;
	EXCEPTION WHEN lock_not_available THEN
		IF state = 'current' THEN
			PERFORM wbcache.sidebar_fallback();
			EXECUTE format(query, 'sidebar_now') INTO result USING sport, league, 'events: sidebar_data is locked';
			RETURN result;
		ELSIF state <> 'behind' THEN
			RAISE;
		END IF;
	END;
	EXECUTE format(query, 'sidebar_data') INTO result USING sport, league, 'sidebar_data as of its last refresh: the events are locked';
	PERFORM wbcache.invalidate(array_to_string(parts, ':'), 'SIDEBAR_REFRESH');
	RETURN result;
END $$;
COMMENT ON FUNCTION wbcache.load_sidebar(text[]) IS
'Loader of the endpoint sidebar: sidebar_data where it is current, else the events.
parts: sidebar, sport_id or all, league_id or all. Returns what get_sidebar() returns.
Errors: 42704 nothing is bound, 42501 not the owner of the events, 55P03 sidebar_data and the events are locked.';

CREATE FUNCTION wbcache.get_sidebar(sport_id text DEFAULT NULL, league_id text DEFAULT NULL) RETURNS json
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_get_sidebar';
COMMENT ON FUNCTION wbcache.get_sidebar(text, text) IS
'The cached sidebar: an object with source (what it was made from), made_at, and sports, an array in order of priority. Each has id, name, games, live_games, next_start and leagues: an array, also in order of priority, of objects with id, name, games, live_games and next_start. NULL ids are those of events without one. A sport that is not there is an empty array. It is the value of the key sidebar:<sport_id>:<league_id> of the endpoint sidebar, and open to its readers.
sport_id, league_id: show only these; NULL: all.
Errors: 22023 an id is empty or has a colon in it; 42704 nothing is bound; and those of get().';

/*
 * The statements of bind_events() and unbind_events(), run with all rights in a
 * security-restricted context. Nothing of the user's is evaluated before the
 * materialized view is the owner's: then by REFRESH, which does so as the owner.
 */
CREATE FUNCTION wbcache.make_sidebar(owner oid) RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	role CONSTANT text := quote_ident((SELECT rolname FROM pg_roles r WHERE r.oid = owner));
BEGIN
	-- Live and half are under way.
	CREATE OR REPLACE VIEW wbcache.sidebar_now AS
		SELECT g.sport_id, g.sport_name, g.league_id, g.league_name, g.games, g.live_games, g.next_start,
			wbcache.sidebar_priority(g.live_games, g.next_start, w.weight, now()) AS priority
		FROM (
			SELECT coalesce(e.sport_id, '') AS sport_id, min(e.sport_name) AS sport_name,
				coalesce(e.league_id, '') AS league_id, min(e.league_name) AS league_name,
				count(*) AS games,
				count(*) FILTER (WHERE e.status IN ('live', 'half')) AS live_games,
				min(e.starts_at) FILTER (WHERE e.starts_at > now() AND e.starts_at < 'infinity'
					AND (e.status IN ('live', 'half') OR wbcache.is_status_off(e.status)) IS NOT TRUE) AS next_start
			FROM wbcache.events e GROUP BY coalesce(e.sport_id, ''), coalesce(e.league_id, '')) g
			LEFT JOIN wbcache.sport_weight w ON w.sport_id = g.sport_id;
	EXECUTE 'ALTER VIEW wbcache.sidebar_now OWNER TO ' || role;
	COMMENT ON VIEW wbcache.sidebar_now IS 'leagues of wbcache.events, a row each, as they are now; sidebar_data as it would be after a refresh';

	IF to_regclass('wbcache.sidebar_data') IS NULL THEN
		CREATE MATERIALIZED VIEW wbcache.sidebar_data AS SELECT * FROM wbcache.sidebar_now WITH NO DATA;
		CREATE UNIQUE INDEX idx_sidebar_data_sport_league ON wbcache.sidebar_data (sport_id, league_id);
		COMMENT ON INDEX wbcache.idx_sidebar_data_sport_league IS 'lets sidebar_data be refreshed concurrently';
		COMMENT ON MATERIALIZED VIEW wbcache.sidebar_data IS 'leagues of wbcache.events, a row each, as of the last wbcache.refresh_sidebar_data()';
		COMMENT ON COLUMN wbcache.sidebar_data.sport_id IS 'id of the sport; empty: of events without one';
		COMMENT ON COLUMN wbcache.sidebar_data.sport_name IS 'its name';
		COMMENT ON COLUMN wbcache.sidebar_data.league_id IS 'id of the league, of its own in each sport; empty: of events without one';
		COMMENT ON COLUMN wbcache.sidebar_data.league_name IS 'its name';
		COMMENT ON COLUMN wbcache.sidebar_data.games IS 'all its games, whatever their status';
		COMMENT ON COLUMN wbcache.sidebar_data.live_games IS 'those that are live or at half time';
		COMMENT ON COLUMN wbcache.sidebar_data.next_start IS 'earliest start to come of a game that is neither under way, nor over, nor off; NULL: none';
		COMMENT ON COLUMN wbcache.sidebar_data.priority IS 'higher comes first: wbcache.sidebar_priority() at the time of the refresh; get_sidebar() works it out anew';
	END IF;
	EXECUTE 'ALTER MATERIALIZED VIEW wbcache.sidebar_data OWNER TO ' || role;
	REFRESH MATERIALIZED VIEW wbcache.sidebar_data;

	IF EXISTS (SELECT FROM wbcache.endpoint e WHERE e.name = 'sidebar' AND e.loader = 'wbcache.load_sidebar(pg_catalog.text[])') THEN
		PERFORM wbcache.alter_endpoint('sidebar', owner => owner::regrole);
	ELSIF EXISTS (SELECT FROM wbcache.endpoint e WHERE e.name = 'sidebar' OR e.pattern ~ '^sidebar:\{[^:]*\}:\{[^:]*\}$') THEN
		RAISE NOTICE 'keys of sidebars belong to another endpoint already; get_sidebar() returns its values'
			USING HINT = 'Drop that endpoint and bind again, to have the values of wbcache.load_sidebar().';
	ELSE
		PERFORM wbcache.create_endpoint('sidebar', 'sidebar:{sport_id}:{league_id}', loader => 'wbcache.load_sidebar(pg_catalog.text[])',
			soft_ttl => '5 min', tags => ARRAY['sidebar', 'sidebar:sport:{sport_id}', 'sidebar:league:{league_id}']);
		PERFORM wbcache.alter_endpoint('sidebar', owner => owner::regrole);
	END IF;

	IF NOT (SELECT rolcanlogin FROM pg_roles r WHERE r.oid = owner) THEN
		RAISE NOTICE 'role % cannot log in, so that nothing refreshes wbcache.sidebar_data; the sidebar is right, but loads take longer', role
			USING HINT = $h$Have a member of it that can log in call wbcache.schedule_task('sidebar_refresh', '5 min', 'wbcache.refresh_sidebar_data()').$h$;
	ELSE
		IF NOT EXISTS (SELECT FROM wbcache.task t WHERE t.name = 'sidebar_refresh') THEN
			PERFORM wbcache.schedule_task('sidebar_refresh', '5 min', 'wbcache.refresh_sidebar_data()');
		END IF;
		UPDATE wbcache.task t SET owner = make_sidebar.owner
			WHERE t.name = 'sidebar_refresh' AND t.function = 'wbcache.refresh_sidebar_data()' AND t.owner <> make_sidebar.owner;
	END IF;
END $$;
COMMENT ON FUNCTION wbcache.make_sidebar(oid) IS
'For bind_events(): makes the views sidebar_now and sidebar_data, the endpoint and the task, or sees to it that they fit.
owner: of the table of events.';

CREATE FUNCTION wbcache.drop_sidebar() RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DROP MATERIALIZED VIEW IF EXISTS wbcache.sidebar_data;
	DROP VIEW IF EXISTS wbcache.sidebar_now;
	PERFORM wbcache.drop_endpoint(e.name) FROM wbcache.endpoint e
		WHERE e.name = 'sidebar' AND e.loader = 'wbcache.load_sidebar(pg_catalog.text[])';
	PERFORM wbcache.unschedule_task(t.name) FROM wbcache.task t
		WHERE t.name = 'sidebar_refresh' AND t.function = 'wbcache.refresh_sidebar_data()';
END $$;
COMMENT ON FUNCTION wbcache.drop_sidebar() IS 'For unbind_events(): takes away what make_sidebar() has made.';

REVOKE ALL ON FUNCTION wbcache.make_sidebar(oid), wbcache.drop_sidebar() FROM PUBLIC;

/* ---------------------------------------------------------------------------
 * Warmer: props are there before anyone asks
 * --------------------------------------------------------------------------- */

CREATE TABLE wbcache.warmer_weight (
	kind text NOT NULL CHECK (kind IN ('game', 'sport', 'league', 'category')),
	name text NOT NULL CHECK (kind <> 'game' OR name IN ('live', 'primetime', 'weekend')),
	weight integer NOT NULL CHECK (weight BETWEEN -1000000 AND 1000000),
	standard integer,
	PRIMARY KEY (kind, name)
);
REVOKE ALL ON TABLE wbcache.warmer_weight FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.warmer_weight TO PUBLIC;
COMMENT ON TABLE wbcache.warmer_weight IS 'What makes the warmer take a game, or a category of props, before others. Yours to write: what differs from the standard is dumped by pg_dump. To insert a row that is there changes it; to be rid of a standard one, set it to 0.';
COMMENT ON COLUMN wbcache.warmer_weight.kind IS 'game: see name; sport, league: name is its id; category: name is its id, or a pattern of ids with * for any characters';
COMMENT ON COLUMN wbcache.warmer_weight.name IS 'of games: live; primetime, it starts from 19:00 and before 22:00 in America/New_York; weekend, it starts on Saturday or Sunday there. The ids of sports and leagues in any case.';
COMMENT ON COLUMN wbcache.warmer_weight.weight IS 'a game has the sum of those that fit, a category the highest one';
COMMENT ON COLUMN wbcache.warmer_weight.standard IS 'what the extension comes with; NULL: your own row';

-- A row of a dump replaces the one that CREATE EXTENSION has made.
CREATE FUNCTION wbcache.warmer_weight_insert() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM wbcache.warmer_weight w WHERE w.kind = new.kind AND w.name = new.name
		RETURNING coalesce(new.standard, w.standard) INTO new.standard;
	RETURN new;
END $$;
COMMENT ON FUNCTION wbcache.warmer_weight_insert() IS 'function of the trigger of wbcache.warmer_weight';
REVOKE ALL ON FUNCTION wbcache.warmer_weight_insert() FROM PUBLIC;

INSERT INTO wbcache.warmer_weight (kind, name, weight, standard)
	SELECT kind, name, weight, weight FROM (VALUES
		('game', 'live', 50), ('game', 'primetime', 30), ('game', 'weekend', 10),
		('league', 'nfl', 40), ('league', 'nba', 40),
		('category', 'player_*', 20), ('category', 'anytime_*', 20)) s (kind, name, weight);

CREATE TRIGGER warmer_weight_insert BEFORE INSERT ON wbcache.warmer_weight
	FOR EACH ROW EXECUTE FUNCTION wbcache.warmer_weight_insert();
ALTER TABLE wbcache.warmer_weight ENABLE ALWAYS TRIGGER warmer_weight_insert;
COMMENT ON TRIGGER warmer_weight_insert ON wbcache.warmer_weight IS 'lets an inserted row replace one that is there';
SELECT pg_catalog.pg_extension_config_dump('wbcache.warmer_weight', 'WHERE weight IS DISTINCT FROM standard');

CREATE TABLE wbcache.warm_log (
	at timestamptz NOT NULL,
	fixture_id text NOT NULL,
	key text NOT NULL,
	priority integer,
	ms double precision NOT NULL,
	result text NOT NULL
);
CREATE INDEX warm_log_at ON wbcache.warm_log (at);
COMMENT ON INDEX wbcache.warm_log_at IS 'for the latest rows';
REVOKE ALL ON TABLE wbcache.warm_log FROM PUBLIC;
GRANT SELECT ON TABLE wbcache.warm_log TO pg_monitor;
COMMENT ON TABLE wbcache.warm_log IS 'The last 10,000 keys that the warmer had to wait for, or could not have. Keys that were warm have no row, nor have refreshes ahead.';
COMMENT ON COLUMN wbcache.warm_log.at IS 'when it had ended';
COMMENT ON COLUMN wbcache.warm_log.fixture_id IS 'fixture that it was for';
COMMENT ON COLUMN wbcache.warm_log.key IS 'the key';
COMMENT ON COLUMN wbcache.warm_log.priority IS 'of the fixture, as calculate_priority() has it; NULL: not by a run, but by hand';
COMMENT ON COLUMN wbcache.warm_log.ms IS 'how long it was waited for, in milliseconds';
COMMENT ON COLUMN wbcache.warm_log.result IS 'fetched; joined: somebody else had asked for it; failed: and why';

CREATE FUNCTION wbcache.calculate_priority(league_id text, status text, starts_at timestamptz, sport_id text DEFAULT NULL)
	RETURNS json
	LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE
BEGIN ATOMIC
	SELECT json_build_object('score', coalesce(sum(p.weight), 0), 'parts', coalesce(json_object_agg(p.part, p.weight ORDER BY p.part), '{}'))
		FROM (
			SELECT CASE w.kind WHEN 'game' THEN w.name ELSE w.kind || ' ' || w.name END AS part, w.weight
				FROM wbcache.warmer_weight w
				WHERE w.weight <> 0 AND CASE w.kind
					WHEN 'game' THEN CASE w.name
						WHEN 'live' THEN wbcache.classify_game_status(calculate_priority.status) IN ('live', 'half')
						WHEN 'primetime' THEN (calculate_priority.starts_at AT TIME ZONE 'America/New_York')::time >= '19:00'
							AND (calculate_priority.starts_at AT TIME ZONE 'America/New_York')::time < '22:00'
						WHEN 'weekend' THEN extract(isodow FROM calculate_priority.starts_at AT TIME ZONE 'America/New_York') IN (6, 7) END
					WHEN 'league' THEN lower(w.name) = lower(calculate_priority.league_id)
					WHEN 'sport' THEN lower(w.name) = lower(calculate_priority.sport_id) END) p;
END;
COMMENT ON FUNCTION wbcache.calculate_priority(text, text, timestamptz, text) IS
'How early the warmer takes a game, and why: {"score": ..., "parts": {...}}, where the score is the sum of the parts, each a row of wbcache.warmer_weight.
league_id, sport_id: ids of the feed, such as nfl. status: of the feed. starts_at: when it starts. NULL: unknown.';

CREATE FUNCTION wbcache.get_upcoming_fixtures(
	hours_ahead double precision DEFAULT 1,
	OUT fixture_id text, OUT sport_id text, OUT league_id text, OUT status text,
	OUT starts_at timestamptz, OUT home text, OUT away text,
	OUT priority integer, OUT parts json)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF hours_ahead IS NULL OR NOT hours_ahead BETWEEN 0 AND 168 THEN
		RAISE 'hours_ahead is out of range: %', hours_ahead
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Give hours from 0 to 168.';
	ELSIF to_regclass('wbcache.events') IS NULL THEN
		RAISE 'no table of events is bound'
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call wbcache.bind_events() with it.';
	END IF;
	-- What the feed has forgotten to end doesn't stay for ever.
	RETURN QUERY
		SELECT e.game_id, e.sport_id, e.league_id, e.status, e.starts_at, e.home, e.away,
				(p.priority ->> 'score')::integer, p.priority -> 'parts'
			FROM (SELECT e.* FROM wbcache.events e
				WHERE e.game_id IS NOT NULL
					AND e.starts_at > now() - interval '12 hours' AND e.starts_at <= now() + hours_ahead * interval '1 hour'
					AND wbcache.is_status_off(e.status) IS NOT TRUE
				OFFSET 0) e,
				LATERAL wbcache.calculate_priority(e.league_id, e.status, e.starts_at, e.sport_id) p (priority)
			ORDER BY 8 DESC, e.starts_at, e.game_id;
END $$;
COMMENT ON FUNCTION wbcache.get_upcoming_fixtures(double precision) IS
'Games of wbcache.events that start soon or are under way: those that start within the time given, or have started within the last 12 hours, and are neither over nor off; in order of priority, then by their start.
hours_ahead: 0 to 168. Returns also the score and the parts of calculate_priority(). The current role must be able to read wbcache.events.
Errors: 55000 no table of events is bound, 22023 hours_ahead is out of range, 42501 the events can not be read.';

CREATE FUNCTION wbcache.top_categories(value json, most integer) RETURNS TABLE (category text)
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	list json := CASE json_typeof(value) WHEN 'array' THEN value WHEN 'object' THEN value -> 'data' END;
	found text[];
BEGIN
	IF json_typeof(list) IS DISTINCT FROM 'array' THEN
		RETURN QUERY SELECT NULL::text;
		RETURN;
	END IF;
	SELECT array_agg(s.id ORDER BY s.n) INTO found FROM (
		SELECT min(n) AS n, nullif(CASE json_typeof(item) WHEN 'string' THEN item #>> '{}'
				WHEN 'object' THEN coalesce(item ->> 'id', item ->> 'name') END, '') AS id
			FROM json_array_elements(list) WITH ORDINALITY a (item, n) GROUP BY 2) s
		WHERE s.id IS NOT NULL;
	IF found IS NULL AND json_array_length(list) > 0 THEN
		RETURN QUERY SELECT NULL::text;
		RETURN;
	END IF;
	RETURN QUERY
		SELECT f.id FROM unnest(found) WITH ORDINALITY f (id, n)
			LEFT JOIN LATERAL (SELECT max(w.weight) AS weight FROM wbcache.warmer_weight w WHERE w.kind = 'category'
				AND f.id LIKE replace(regexp_replace(w.name, '([\\%_])', '\\\1', 'g'), '*', '%')) w ON true
			ORDER BY coalesce(w.weight, 0) DESC, f.n LIMIT most;
EXCEPTION WHEN data_exception THEN
	RETURN QUERY SELECT NULL::text;
END $$;
COMMENT ON FUNCTION wbcache.top_categories(json, integer) IS
'The categories of props in a value of the key props:categories:<fixture_id>, those of highest weight in warmer_weight first, then as they come.
value: an array, or an object whose data is one, of strings, or of objects with an id or a name. most: how many at most. One NULL stands for a value of another shape.';

CREATE FUNCTION wbcache.warm_keys(fixture_id text, keys text[], OUT key text, OUT result text, OUT value json)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 10
	AS 'MODULE_PATHNAME', 'wbcache_warm_keys';
COMMENT ON FUNCTION wbcache.warm_keys(text, text[]) IS
'Has the values of keys fetched that are not fresh, giving way to clients'' fetches, and waits for them, at most wbcache.max_wait in all. Not open to PUBLIC. A row for each key, in the order given; what was not fresh is in warm_log too.
fixture_id: for the log. keys: at most 1,000. result: fresh, fetched, joined, or failed: and why. value: NULL if it failed.
Errors: those of get() that are about the key or the role; 22023 too many keys.';

CREATE FUNCTION wbcache.is_fixture_on(fixture_id text) RETURNS boolean
	LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	state text;
BEGIN
	IF to_regclass('wbcache.events') IS NULL THEN
		RAISE 'no table of events is bound'
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call wbcache.bind_events() with it.';
	END IF;
	IF fixture_id = '' OR strpos(fixture_id, ':') > 0 THEN
		RAISE '%', CASE fixture_id WHEN '' THEN 'fixture_id is empty' ELSE 'fixture_id has a colon in it' END
			USING ERRCODE = 'invalid_parameter_value', DETAIL = 'It is one segment of the keys of cached values.',
				HINT = 'Name a game of wbcache.events whose game_id can be one.';
	END IF;
	SELECT coalesce(e.status, '') INTO state FROM wbcache.events e WHERE e.game_id = is_fixture_on.fixture_id;
	IF state IS NULL THEN
		RAISE 'fixture "%" does not exist', fixture_id
			USING ERRCODE = 'undefined_object', HINT = 'Look into wbcache.events.';
	ELSIF wbcache.is_status_off(state) THEN
		RAISE NOTICE 'fixture "%" is %, skipping', fixture_id, state;
		RETURN false;
	END IF;
	RETURN true;
END $$;
COMMENT ON FUNCTION wbcache.is_fixture_on(text) IS
'For warm_prop_categories() and warm_popular_props(): whether a game is to come or under way; a notice if it is not. The current role must be able to read wbcache.events.
Errors: 22023 the id is empty or has a colon in it, 55000 no table of events is bound, 42704 no such fixture.';

CREATE FUNCTION wbcache.warm_prop_categories(fixture_id text) RETURNS integer
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	warm record;
	n integer;
	good boolean;
BEGIN
	IF NOT wbcache.is_fixture_on(fixture_id) THEN
		RETURN 0;
	END IF;
	SELECT * INTO warm FROM wbcache.warm_keys(fixture_id, ARRAY['props:categories:' || fixture_id]);
	IF warm.result LIKE 'failed: %' THEN
		RAISE '%', substr(warm.result, 9) USING ERRCODE = 'WB001', HINT = 'Look into wbcache.stat_server for what the upstream does.';
	END IF;
	SELECT count(c.category), coalesce(bool_and(c.category IS NOT NULL), true) INTO n, good
		FROM wbcache.top_categories(warm.value, 1000000) c;
	IF NOT good THEN
		RAISE 'the categories of fixture "%" are in an unexpected shape', fixture_id
			USING ERRCODE = 'WB001', HINT = 'See the comment of wbcache.top_categories() for what they should be.';
	END IF;
	RETURN n;
END $$;
COMMENT ON FUNCTION wbcache.warm_prop_categories(text) IS
'Has the categories of a game''s props in the cache, under the key props:categories:<fixture_id>: fetches them unless they are fresh, giving way to clients'' fetches. Waits at most wbcache.max_wait. Not open to PUBLIC; the role must be a reader of the endpoint, and able to read wbcache.events.
Returns how many categories there are; 0, with a notice, for a game that is over or off.
Errors: 22023 the id is empty or has a colon in it, 55000 no table of events is bound, 42704 no such fixture, or no endpoint for the key, WB001 the fetch failed, or its value has another shape; and those of get().';

CREATE FUNCTION wbcache.warm_popular_props(fixture_id text) RETURNS integer
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	keys text[];
	n integer;
	failed text[];
BEGIN
	IF wbcache.warm_prop_categories(fixture_id) = 0 THEN
		RETURN 0;
	END IF;
	SELECT array_agg(format('props:%s:%s:%s', fixture_id, c.category, trim(b.book)) ORDER BY c.n, b.n) INTO keys
		FROM wbcache.warm_keys(fixture_id, ARRAY['props:categories:' || fixture_id]) k,
			LATERAL wbcache.top_categories(k.value, current_setting('wbcache.warmer_categories')::integer) WITH ORDINALITY c (category, n),
			string_to_table(current_setting('wbcache.warmer_sportsbooks'), ',') WITH ORDINALITY b (book, n)
		WHERE strpos(c.category, ':') = 0 AND trim(b.book) <> '' AND strpos(b.book, ':') = 0;
	SELECT count(*) FILTER (WHERE w.result NOT LIKE 'failed: %'), array_agg(w.result) FILTER (WHERE w.result LIKE 'failed: %')
		INTO n, failed FROM wbcache.warm_keys(fixture_id, coalesce(keys, '{}')) w;
	IF failed IS NOT NULL THEN
		RAISE WARNING '% of % props of fixture "%" could not be had', cardinality(failed), cardinality(keys), fixture_id
			USING DETAIL = 'The first one ' || failed[1] || '.', HINT = 'See wbcache.warm_log.';
	END IF;
	RETURN n;
END $$;
COMMENT ON FUNCTION wbcache.warm_popular_props(text) IS
'Has the props of a game in the cache, under the keys props:<fixture_id>:<category>:<sportsbook>: of its wbcache.warmer_categories top categories, as top_categories() has them, and of wbcache.warmer_sportsbooks. Does what warm_prop_categories() does first. Waits at most 3 x wbcache.max_wait. Not open to PUBLIC.
Returns how many keys are warm; a warning says how many are not.
Errors: those of warm_prop_categories().';

CREATE PROCEDURE wbcache.warm_upcoming()
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'wbcache_warm_upcoming';
COMMENT ON PROCEDURE wbcache.warm_upcoming() IS
'One run of the warmer, for the task warmer: the categories and the props of the games of get_upcoming_fixtures(), wbcache.warmer_ahead before they start, in order of priority, until wbcache.warmer_budget requests or the interval of the task are used up. It commits, and holds no snapshot while it waits. While another run is under way it does nothing but say so. From then on, their values are refreshed before they turn stale, until the game is over, or no run comes for two intervals.
The current role must be able to read wbcache.events, and be a reader of the endpoints. Not open to PUBLIC.
Errors: 25001 it is called in a transaction block; 42704 no endpoint has the keys; 42501 the events can not be read, or not a reader; 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.stat_warmer_entries(
	OUT running boolean, OUT runs bigint,
	OUT last_run_at timestamptz, OUT last_end_at timestamptz, OUT last_result text, OUT last_error text,
	OUT degraded boolean, OUT keys_ahead bigint, OUT refreshes_ahead bigint,
	OUT fixtures_warmed bigint, OUT categories_cached bigint, OUT props_cached bigint,
	OUT requests bigint, OUT errors bigint, OUT skipped_for_budget bigint,
	OUT total_fixtures_warmed bigint, OUT total_categories_cached bigint, OUT total_props_cached bigint,
	OUT total_requests bigint, OUT total_errors bigint, OUT total_skipped_for_budget bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1
	AS 'MODULE_PATHNAME', 'wbcache_stat_warmer_entries';
COMMENT ON FUNCTION wbcache.stat_warmer_entries() IS 'what the warmer of this database has done, as the view stat_warmer shows it';

CREATE VIEW wbcache.stat_warmer AS
	SELECT CASE WHEN degraded THEN 'degraded' ELSE 'ok' END AS status,
		running, runs, last_run_at,
		CASE WHEN running THEN clock_timestamp() ELSE last_end_at END - last_run_at AS duration,
		last_result, last_error,
		fixtures_warmed, categories_cached, props_cached, requests, errors, skipped_for_budget,
		total_fixtures_warmed, total_categories_cached, total_props_cached, total_requests, total_errors, total_skipped_for_budget,
		keys_ahead, refreshes_ahead
	FROM wbcache.stat_warmer_entries();
COMMENT ON VIEW wbcache.stat_warmer IS 'the warmer of this database since the server start: its last run, or the one under way, and all runs';
COMMENT ON COLUMN wbcache.stat_warmer.status IS 'ok, or degraded: more than 5 errors in the last run, or it failed as a whole';
COMMENT ON COLUMN wbcache.stat_warmer.running IS 'whether a run is under way; then what follows is of that one';
COMMENT ON COLUMN wbcache.stat_warmer.last_run_at IS 'when the last one started; NULL: none';
COMMENT ON COLUMN wbcache.stat_warmer.duration IS 'how long it took, or has taken so far';
COMMENT ON COLUMN wbcache.stat_warmer.last_result IS 'of the last run that has ended: done, failed, or interrupted by a shutdown or pg_terminate_backend()';
COMMENT ON COLUMN wbcache.stat_warmer.last_error IS 'the last error of the run; NULL: none';

CREATE FUNCTION wbcache.get_warmer_status() RETURNS json
	LANGUAGE sql VOLATILE STRICT PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT json_build_object('status', w.status, 'running', w.running, 'last_run_at', w.last_run_at,
			'duration_ms', round(extract(epoch FROM w.duration) * 1000, 1), 'last_result', w.last_result,
			'fixtures_warmed', w.fixtures_warmed, 'categories_cached', w.categories_cached, 'props_cached', w.props_cached,
			'errors', w.errors, 'last_error', w.last_error, 'skipped_for_budget', w.skipped_for_budget,
			'requests', w.requests, 'keys_ahead', w.keys_ahead)
		FROM wbcache.stat_warmer w;
END;
COMMENT ON FUNCTION wbcache.get_warmer_status() IS
'What the last run of the warmer has done, or the one under way: status (ok, or degraded above 5 errors), running, last_run_at, duration_ms, last_result (done, failed, interrupted), fixtures_warmed, categories_cached, props_cached, errors, last_error, skipped_for_budget (games), requests, keys_ahead. The columns of stat_warmer say more. For pg_monitor.
Errors: 55000 the library is not preloaded.';

CREATE FUNCTION wbcache.run_warmer() RETURNS json
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ran boolean;
BEGIN
	BEGIN
		ran := wbcache.run_task('warmer') IS NOT NULL;
	EXCEPTION WHEN undefined_object THEN
		RAISE '%', SQLERRM USING ERRCODE = 'undefined_object',
			HINT = $h$For the API of OpticOdds call wbcache.preset_optic_odds(), for another one wbcache.schedule_task('warmer', '5 min', 'wbcache.warm_upcoming()').$h$;
	END;
	IF has_table_privilege('wbcache.stat_warmer', 'SELECT') THEN
		RETURN jsonb_build_object('ran', ran) || wbcache.get_warmer_status()::jsonb;
	END IF;
	RETURN json_build_object('ran', ran);
END $$;
COMMENT ON FUNCTION wbcache.run_warmer() IS
'Runs the task warmer now, and waits for its end. For its owner. Returns ran: false, with a notice, when a run was under way already; and, for pg_monitor, what get_warmer_status() says.
Errors: those of run_task(); 42704 there is no task of that name: preset_optic_odds() makes it, or schedule_task(''warmer'', ''5 min'', ''wbcache.warm_upcoming()'').';

CREATE FUNCTION wbcache.preset_optic_odds(server name, readers regrole[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	preset record;
	other name;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvname = server) THEN
		RAISE 'server "%" does not exist', server
			USING ERRCODE = 'undefined_object', HINT = 'Create it with the wrapper wbcache_http, and the base_url of the API.';
	END IF;
	FOR preset IN SELECT * FROM (VALUES
		('props_categories', 'props:categories:{fixture_id}', '^props:categories:\{[^:]*\}$',
			'/markets/active?fixture_id={fixture_id}', interval '10 min'),
		('props', 'props:{fixture_id}:{category}:{sportsbook}', '^props:\{[^:]*\}:\{[^:]*\}:\{[^:]*\}$',
			'/fixtures/odds?fixture_id={fixture_id}&market={category}&sportsbook={sportsbook}', interval '2 min'))
		p (name, pattern, same, path, ttl)
	LOOP
		SELECT e.name INTO other FROM wbcache.endpoint e WHERE e.pattern ~ preset.same;
		IF FOUND THEN
			RAISE NOTICE 'endpoint "%" has the keys % already, skipping', other, preset.pattern;
		ELSE
			PERFORM wbcache.create_endpoint(preset.name, preset.pattern, server => server, path => preset.path,
				soft_ttl => preset.ttl, tags => ARRAY['game:{fixture_id}'], readers => readers);
		END IF;
	END LOOP;
	IF EXISTS (SELECT FROM wbcache.task t WHERE t.name = 'warmer') THEN
		RAISE NOTICE 'task "warmer" exists already, skipping';
	ELSIF NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE NOTICE 'role % cannot log in, so that nothing runs the warmer', quote_ident(current_user)
			USING HINT = $h$Have a role that can log in call wbcache.schedule_task('warmer', '5 min', 'wbcache.warm_upcoming()').$h$;
	ELSE
		PERFORM wbcache.schedule_task('warmer', '5 min', 'wbcache.warm_upcoming()');
	END IF;
END $$;
COMMENT ON FUNCTION wbcache.preset_optic_odds(name, regrole[]) IS
'For a server with the API of OpticOdds v3, makes the endpoints props_categories, whose keys props:categories:{fixture_id} are fresh for 10 min, and props, whose keys props:{fixture_id}:{category}:{sportsbook} are fresh for 2 min, both with the tag game:{fixture_id}, and twice as long served at all; and the task warmer, every 5 minutes. What exists is left as it is, with a notice. The current role owns what is made. Not open to PUBLIC; the role must also be a member of pg_monitor, which may see what exists, and needs what create_endpoint() and schedule_task() need, and, for the task, to read wbcache.events and EXECUTE of warm_upcoming().
server: a foreign server of the wrapper wbcache_http. readers: roles that may read the keys, besides the owner.
Errors: those of create_endpoint() and schedule_task().';

REVOKE ALL ON FUNCTION
	wbcache.warm_keys(text, text[]), wbcache.is_fixture_on(text),
	wbcache.warm_prop_categories(text), wbcache.warm_popular_props(text),
	wbcache.run_warmer(), wbcache.get_warmer_status(), wbcache.stat_warmer_entries(),
	wbcache.preset_optic_odds(name, regrole[])
	FROM PUBLIC;
REVOKE ALL ON PROCEDURE wbcache.warm_upcoming() FROM PUBLIC;
REVOKE ALL ON wbcache.stat_warmer FROM PUBLIC;
GRANT EXECUTE ON FUNCTION wbcache.get_warmer_status(), wbcache.stat_warmer_entries() TO pg_monitor;
GRANT SELECT ON wbcache.stat_warmer TO pg_monitor;

/* ---------------------------------------------------------------------------
 * Statistics
 * --------------------------------------------------------------------------- */

CREATE FUNCTION wbcache.stat_endpoint_counters(
	OUT endpoint name,
	OUT hits bigint, OUT stale bigint, OUT misses bigint, OUT collapsed bigint,
	OUT bypasses bigint, OUT errors bigint,
	OUT refresh_successes bigint, OUT refresh_failures bigint,
	OUT fallbacks bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_stat_endpoint_counters';
COMMENT ON FUNCTION wbcache.stat_endpoint_counters() IS 'counters of this database''s endpoints, as the views stat_endpoint and stat_sidebar show them';

CREATE FUNCTION wbcache.stat_window_counters(
	OUT endpoint name, OUT period interval,
	OUT hits bigint, OUT stale bigint, OUT misses bigint, OUT collapsed bigint,
	OUT bypasses bigint, OUT errors bigint,
	OUT refresh_successes bigint, OUT refresh_failures bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_stat_window_counters';
COMMENT ON FUNCTION wbcache.stat_window_counters() IS 'how much the counters of this database''s endpoints have grown within a period, as the view stat_window shows it';

CREATE FUNCTION wbcache.stat_latency_histograms(
	OUT endpoint name, OUT operation text, OUT count bigint, OUT sum float8,
	OUT p50 float8, OUT p95 float8, OUT p99 float8, OUT max float8,
	OUT bounds float8[], OUT buckets bigint[])
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_stat_latency_histograms';
COMMENT ON FUNCTION wbcache.stat_latency_histograms() IS
'Durations of the operations of this database''s endpoints, in seconds; stat_latency shows them in milliseconds. buckets: how many took no longer than the element of bounds of the same index; those above the last one are in count only.';

CREATE FUNCTION wbcache.stat_coalescer_counters(
	OUT new_requests bigint, OUT coalesced_requests bigint,
	OUT upstream_calls bigint, OUT waits bigint, OUT wait_us bigint,
	OUT waiters bigint, OUT max_concurrent_waiters bigint, OUT pending_keys bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1
	AS 'MODULE_PATHNAME', 'wbcache_stat_coalescer_counters';
COMMENT ON FUNCTION wbcache.stat_coalescer_counters() IS 'counters of request coalescing, as the view stat_coalescer shows them; wait_us in microseconds';

CREATE FUNCTION wbcache.stat_server_counters(
	OUT serverid oid, OUT breaker_state text, OUT consecutive_failures bigint,
	OUT next_try timestamptz, OUT running bigint,
	OUT requests bigint, OUT successes bigint, OUT not_modified bigint,
	OUT failures bigint, OUT refused bigint, OUT rate_limited bigint,
	OUT rate_limit bigint, OUT rate_used bigint, OUT rate_window_ends timestamptz,
	OUT paused_until timestamptz, OUT last_error text, OUT last_error_at timestamptz)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_stat_server_counters';
COMMENT ON FUNCTION wbcache.stat_server_counters() IS 'state and counters of this database''s servers, as the view stat_server shows them';

CREATE FUNCTION wbcache.stat_memory_counters(
	OUT size bigint, OUT used bigint, OUT slots bigint, OUT entries bigint,
	OUT stores bigint, OUT evictions bigint, OUT refused bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1
	AS 'MODULE_PATHNAME', 'wbcache_stat_memory_counters';
COMMENT ON FUNCTION wbcache.stat_memory_counters() IS 'state and counters of the memory tier, as the view stat_memory shows them';

CREATE FUNCTION wbcache.stat_worker_entries(
	OUT kind text, OUT dbid oid, OUT pid integer, OUT started_at timestamptz,
	OUT starts bigint, OUT flights_queued bigint, OUT flights_under_way bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_stat_worker_entries';
COMMENT ON FUNCTION wbcache.stat_worker_entries() IS 'worker processes, as the view stat_worker shows them';

CREATE FUNCTION wbcache.stat_invalidation_counters(
	OUT keys bigint, OUT tags bigint, OUT patterns bigint, OUT everything bigint,
	OUT status_change bigint, OUT odds_movement bigint, OUT cancelled bigint,
	OUT postponed bigint, OUT manual bigint, OUT sidebar_refresh bigint,
	OUT rows_purged bigint, OUT per_minute bigint, OUT threshold bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1
	AS 'MODULE_PATHNAME', 'wbcache_stat_invalidation_counters';
COMMENT ON FUNCTION wbcache.stat_invalidation_counters() IS 'counters of this database''s invalidations, as the view stat_invalidation shows them';

CREATE FUNCTION wbcache.invalidation_event_entries(
	OUT number bigint, OUT at timestamptz, OUT reason text, OUT kind text,
	OUT what text, OUT count bigint)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_invalidation_event_entries';
COMMENT ON FUNCTION wbcache.invalidation_event_entries() IS 'the latest invalidations of this database, as the view invalidation_events shows them';

CREATE FUNCTION wbcache.stat_warmup_counters(
	OUT noted_at timestamptz, OUT state text, OUT wanted bigint, OUT back bigint,
	OUT under_way bigint, OUT failed bigint, OUT started_at timestamptz, OUT ended_at timestamptz)
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'wbcache_stat_warmup_counters';
COMMENT ON FUNCTION wbcache.stat_warmup_counters() IS 'what has become of this database''s hot keys, as the view stat_warmup shows it';

CREATE FUNCTION wbcache.stat_reset() RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'wbcache_stat_reset';
COMMENT ON FUNCTION wbcache.stat_reset() IS
'Sets the counters of this database''s endpoints, servers and invalidations, and those of the coalescer, to zero, and begins windows and durations anew. What is in progress stays: it counts when it ends. Not open to PUBLIC.
Errors: 55000 the library is not preloaded.';
REVOKE ALL ON FUNCTION wbcache.stat_reset() FROM PUBLIC;

CREATE VIEW wbcache.stat_endpoint AS
	SELECT e.name AS endpoint,
		coalesce(c.hits, 0) AS hits,
		coalesce(c.stale, 0) AS stale,
		coalesce(c.misses, 0) AS misses,
		coalesce(c.collapsed, 0) AS collapsed,
		coalesce(c.bypasses, 0) AS bypasses,
		coalesce(c.errors, 0) AS errors,
		coalesce(c.refresh_successes, 0) AS refresh_successes,
		coalesce(c.refresh_failures, 0) AS refresh_failures,
		round(100.0 * (c.hits + c.stale)
			/ nullif(c.hits + c.stale + c.misses + c.collapsed + c.bypasses + c.errors, 0), 2) AS hit_rate_percent
	FROM wbcache.endpoint e
		LEFT JOIN wbcache.stat_endpoint_counters() c ON c.endpoint = e.name;
COMMENT ON VIEW wbcache.stat_endpoint IS 'reads and refreshes of each endpoint of this database since the server start or stat_reset()';
COMMENT ON COLUMN wbcache.stat_endpoint.endpoint IS 'name of the endpoint';
COMMENT ON COLUMN wbcache.stat_endpoint.hit_rate_percent IS 'hits and stale serves among all reads; NULL before the first';

CREATE VIEW wbcache.stat_window AS
	SELECT e.name AS endpoint, c.period,
		coalesce(n.requests, 0) AS requests,
		coalesce(c.hits, 0) AS hits,
		coalesce(c.stale, 0) AS stale,
		coalesce(c.errors, 0) AS errors,
		coalesce(c.refresh_successes, 0) AS refresh_successes,
		coalesce(c.refresh_failures, 0) AS refresh_failures,
		round(100.0 * (c.hits + c.stale) / nullif(n.requests, 0), 2) AS hit_rate_percent,
		round(100.0 * c.stale / nullif(n.requests, 0), 2) AS stale_rate_percent
	FROM wbcache.endpoint e
		LEFT JOIN wbcache.stat_window_counters() c ON c.endpoint = e.name
		CROSS JOIN LATERAL (SELECT c.hits + c.stale + c.misses + c.collapsed + c.bypasses + c.errors) n (requests);
COMMENT ON VIEW wbcache.stat_window IS 'reads and refreshes of each endpoint of this database within the last 5 minutes, or since the endpoint was first used, the server start or stat_reset(), if that is less';
COMMENT ON COLUMN wbcache.stat_window.endpoint IS 'name of the endpoint';
COMMENT ON COLUMN wbcache.stat_window.period IS 'how long the window is: 5 minutes and up to about 10 s, or less after a start; NULL: the endpoint was not used yet';
COMMENT ON COLUMN wbcache.stat_window.requests IS 'reads: hits, stale, misses, collapsed, bypasses and errors';
COMMENT ON COLUMN wbcache.stat_window.hits IS 'those answered by a fresh value';
COMMENT ON COLUMN wbcache.stat_window.stale IS 'those answered by a stale value while it was refreshed';
COMMENT ON COLUMN wbcache.stat_window.errors IS 'those that ended in an error';
COMMENT ON COLUMN wbcache.stat_window.refresh_successes IS 'fetches that brought a value, 304 included';
COMMENT ON COLUMN wbcache.stat_window.refresh_failures IS 'fetches that failed';
COMMENT ON COLUMN wbcache.stat_window.hit_rate_percent IS 'hits and stale serves among all reads; NULL without any';
COMMENT ON COLUMN wbcache.stat_window.stale_rate_percent IS 'stale serves among all reads; NULL without any';

CREATE VIEW wbcache.stat_latency AS
	SELECT endpoint, operation, count,
		round((1000 * sum / nullif(count, 0))::numeric, 5) AS average_ms,
		round((1000 * p50)::numeric, 5) AS p50_ms,
		round((1000 * p95)::numeric, 5) AS p95_ms,
		round((1000 * p99)::numeric, 5) AS p99_ms,
		round((1000 * max)::numeric, 5) AS max_ms
	FROM wbcache.stat_latency_histograms();
COMMENT ON VIEW wbcache.stat_latency IS 'how long the operations of each endpoint of this database took, since the server start or stat_reset(); an operation that there was none of has no row';
COMMENT ON COLUMN wbcache.stat_latency.endpoint IS 'name of the endpoint';
COMMENT ON COLUMN wbcache.stat_latency.operation IS 'hit: a read answered by a fresh value; stale: by a stale one; wait: a read that waited for a flight, however that ended; fetch: a request to the upstream; load: a run of the loader; refresh: a flight, from the read that asked for it to its end, the time in queues included';
COMMENT ON COLUMN wbcache.stat_latency.count IS 'how many were timed: of hits one in 16, of the others all';
COMMENT ON COLUMN wbcache.stat_latency.average_ms IS 'their average, in milliseconds';
COMMENT ON COLUMN wbcache.stat_latency.p50_ms IS 'what half of them did not pass, interpolated in a bucket; buckets end at 1, 2 and 5 times the powers of ten';
COMMENT ON COLUMN wbcache.stat_latency.p95_ms IS 'what 95 % of them did not pass';
COMMENT ON COLUMN wbcache.stat_latency.p99_ms IS 'what 99 % of them did not pass';
COMMENT ON COLUMN wbcache.stat_latency.max_ms IS 'the longest one';

CREATE VIEW wbcache.stat_coalescer AS
	SELECT new_requests + coalesced_requests AS total_requests, new_requests, coalesced_requests, upstream_calls,
		round(100.0 * coalesced_requests / nullif(new_requests + coalesced_requests, 0), 2) AS hit_rate_percent,
		waits, wait_us,
		round(wait_us / 1000.0 / nullif(waits, 0), 3) AS avg_wait_time_ms,
		waiters, max_concurrent_waiters, pending_keys
	FROM wbcache.stat_coalescer_counters();
COMMENT ON VIEW wbcache.stat_coalescer IS 'how many requests shared a fetch, over all databases, since the server start or stat_reset()';
COMMENT ON COLUMN wbcache.stat_coalescer.total_requests IS 'requests for a flight, new and coalesced: misses, and refreshes of stale values';
COMMENT ON COLUMN wbcache.stat_coalescer.hit_rate_percent IS 'coalesced requests among all; NULL before the first';
COMMENT ON COLUMN wbcache.stat_coalescer.avg_wait_time_ms IS 'average wait for a flight, in milliseconds; NULL before the first';

CREATE VIEW wbcache.stat_server AS
	SELECT s.srvname AS server,
		coalesce(c.breaker_state, 'closed') AS breaker_state,
		coalesce(c.consecutive_failures, 0) AS consecutive_failures,
		c.next_try,
		coalesce(c.running, 0) AS running,
		coalesce(c.requests, 0) AS requests,
		coalesce(c.successes, 0) AS successes,
		coalesce(c.not_modified, 0) AS not_modified,
		coalesce(c.failures, 0) AS failures,
		coalesce(c.refused, 0) AS refused,
		coalesce(c.rate_limited, 0) AS rate_limited,
		c.rate_limit, c.rate_used, c.rate_window_ends, c.paused_until,
		c.last_error, c.last_error_at
	FROM pg_catalog.pg_foreign_server s
		JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'wbcache_http'
		LEFT JOIN wbcache.stat_server_counters() c ON c.serverid = s.oid;
COMMENT ON VIEW wbcache.stat_server IS 'state and requests of each upstream of this database since the server start or stat_reset()';
COMMENT ON COLUMN wbcache.stat_server.server IS 'name of the foreign server';
COMMENT ON COLUMN wbcache.stat_server.breaker_state IS 'closed: requests go; open: none goes before next_try; half-open: one probe is on its way';
COMMENT ON COLUMN wbcache.stat_server.next_try IS 'when the breaker lets a probe go; NULL while it is closed';
COMMENT ON COLUMN wbcache.stat_server.rate_window_ends IS 'when the current window ends; NULL: none is running';
COMMENT ON COLUMN wbcache.stat_server.paused_until IS 'until when the upstream has asked for a pause (429, Retry-After); NULL: not now';
COMMENT ON COLUMN wbcache.stat_server.last_error IS 'why the last failed request failed; no key, no secret';
COMMENT ON COLUMN wbcache.stat_server.last_error_at IS 'when that was';

CREATE VIEW wbcache.stat_invalidation AS
	SELECT keys + tags + patterns + everything AS total,
		keys, tags, patterns, everything,
		status_change, odds_movement, cancelled, postponed, manual, sidebar_refresh,
		rows_purged, per_minute, threshold,
		threshold > 0 AND per_minute > threshold AS alert
	FROM wbcache.stat_invalidation_counters();
COMMENT ON VIEW wbcache.stat_invalidation IS 'invalidations committed in this database since the server start or stat_reset(); each key, tag and pattern counts once a transaction';
COMMENT ON COLUMN wbcache.stat_invalidation.total IS 'all of them: by what, and by reason';
COMMENT ON COLUMN wbcache.stat_invalidation.alert IS 'whether per_minute is above the threshold';

CREATE VIEW wbcache.invalidation_events AS
	SELECT number, at, reason::wbcache.invalidation_reason AS reason, kind, what, count
	FROM wbcache.invalidation_event_entries();
COMMENT ON VIEW wbcache.invalidation_events IS 'the latest invalidations committed in this database, the oldest first; 1000 are kept over all databases. It shows keys and tags to whoever may read it.';
COMMENT ON COLUMN wbcache.invalidation_events.number IS 'number of the event in this database since the server start';
COMMENT ON COLUMN wbcache.invalidation_events.at IS 'when it was committed';
COMMENT ON COLUMN wbcache.invalidation_events.reason IS 'why';
COMMENT ON COLUMN wbcache.invalidation_events.kind IS 'key, own key (of get_with_swr), tag, pattern, or everything';
COMMENT ON COLUMN wbcache.invalidation_events.what IS 'the key, tag or pattern; NULL: everything, or those of a transaction beyond its first 16 of the kind and reason together';
COMMENT ON COLUMN wbcache.invalidation_events.count IS 'how many the event stands for';

CREATE VIEW wbcache.stat_memory AS
	SELECT size, used, slots, entries, stores, evictions, refused,
		round(100.0 * used / size, 2) AS used_percent
	FROM wbcache.stat_memory_counters();
COMMENT ON VIEW wbcache.stat_memory IS 'the memory tier, over all databases, since the server start';
COMMENT ON COLUMN wbcache.stat_memory.used_percent IS 'used in percent of size';

CREATE VIEW wbcache.stat_worker AS
	SELECT e.kind, d.datname AS database, e.pid,
		CASE WHEN e.pid IS NULL THEN 'stopped' ELSE 'running' END AS state,
		e.started_at, e.starts, e.flights_queued, e.flights_under_way
	FROM wbcache.stat_worker_entries() e
		LEFT JOIN pg_catalog.pg_database d ON d.oid = e.dbid;
COMMENT ON VIEW wbcache.stat_worker IS 'the launcher, the fetcher and the loaders of each database in wbcache.databases, and the tasks that run';
COMMENT ON COLUMN wbcache.stat_worker.kind IS 'launcher: starts the others; fetcher: does all HTTP of a database; loader: runs SQL loaders, writes the table tier, and starts tasks; task: one run of a task';
COMMENT ON COLUMN wbcache.stat_worker.database IS 'database it serves; NULL for the launcher';
COMMENT ON COLUMN wbcache.stat_worker.pid IS 'process; NULL: not running';
COMMENT ON COLUMN wbcache.stat_worker.state IS 'running, or stopped: it is about to be started again';
COMMENT ON COLUMN wbcache.stat_worker.started_at IS 'when it was last started';

CREATE VIEW wbcache.stat_sidebar AS
	SELECT wbcache.sidebar_state() AS state,
		l.refreshes, l.failures, l.average_ms, l.max_ms, l.last_ms, l.last_success,
		clock_timestamp() - l.last_success AS age, l.last_error, l.alerts,
		coalesce(c.hits, 0) + coalesce(c.stale, 0) AS hits,
		coalesce(c.misses, 0) + coalesce(c.collapsed, 0) + coalesce(c.bypasses, 0) AS misses,
		coalesce(c.fallbacks, 0) AS fallbacks
	FROM (
		SELECT count(*) FILTER (WHERE error IS NULL) AS refreshes,
			count(error) AS failures,
			round(extract(epoch FROM avg(duration) FILTER (WHERE error IS NULL)) * 1000, 3) AS average_ms,
			round(extract(epoch FROM max(duration) FILTER (WHERE error IS NULL)) * 1000, 3) AS max_ms,
			round(extract(epoch FROM (array_agg(duration ORDER BY started DESC) FILTER (WHERE error IS NULL))[1]) * 1000, 3) AS last_ms,
			max(started) FILTER (WHERE error IS NULL) AS last_success,
			(array_agg(error ORDER BY started DESC))[1] AS last_error,
			count(*) FILTER (WHERE alert_triggered) AS alerts
		FROM wbcache.sidebar_refresh_log) l
		LEFT JOIN wbcache.stat_endpoint_counters() c ON c.endpoint = 'sidebar';
COMMENT ON VIEW wbcache.stat_sidebar IS 'the sidebar of this database: refreshes of sidebar_data in sidebar_refresh_log (the last 1,000), and reads since the server start or stat_reset()';
COMMENT ON COLUMN wbcache.stat_sidebar.state IS 'of sidebar_data: current; behind: something has changed since; not populated; missing';
COMMENT ON COLUMN wbcache.stat_sidebar.refreshes IS 'refreshes that succeeded';
COMMENT ON COLUMN wbcache.stat_sidebar.failures IS 'refreshes that failed';
COMMENT ON COLUMN wbcache.stat_sidebar.average_ms IS 'their average duration, in milliseconds; without those that failed';
COMMENT ON COLUMN wbcache.stat_sidebar.max_ms IS 'the longest one';
COMMENT ON COLUMN wbcache.stat_sidebar.last_ms IS 'the last one';
COMMENT ON COLUMN wbcache.stat_sidebar.last_success IS 'when the last one that succeeded started';
COMMENT ON COLUMN wbcache.stat_sidebar.age IS 'time since then: age of what sidebar_data has, unless it is current';
COMMENT ON COLUMN wbcache.stat_sidebar.last_error IS 'why the last refresh failed; NULL: it did not';
COMMENT ON COLUMN wbcache.stat_sidebar.alerts IS 'refreshes that took longer than wbcache.sidebar_alert_time';
COMMENT ON COLUMN wbcache.stat_sidebar.hits IS 'reads answered from the cache, stale ones included';
COMMENT ON COLUMN wbcache.stat_sidebar.misses IS 'reads that waited for a load, or could not believe the cache';

CREATE VIEW wbcache.stat_warmup AS
	SELECT (SELECT count(*) FROM wbcache.hot_key) AS hot_keys, noted_at,
		state, wanted, back, under_way, failed, started_at, ended_at,
		coalesce(ended_at, clock_timestamp()) - started_at AS duration
	FROM wbcache.stat_warmup_counters();
COMMENT ON VIEW wbcache.stat_warmup IS 'the hot keys of this database, and how those were brought back that were missing at the server start';
COMMENT ON COLUMN wbcache.stat_warmup.noted_at IS 'when these were last compared with memory; NULL: not since the server start';
COMMENT ON COLUMN wbcache.stat_warmup.state IS 'waiting: no loader has looked yet; under way; none: nothing was missing; done; given up: none has come back for 10 minutes, or wbcache.hot_keys is 0';
COMMENT ON COLUMN wbcache.stat_warmup.started_at IS 'when that began; NULL: nothing was missing';
COMMENT ON COLUMN wbcache.stat_warmup.ended_at IS 'when it ended; NULL: not yet';
COMMENT ON COLUMN wbcache.stat_warmup.duration IS 'how long it took, or takes until now';

/*
 * What is counted, and Prometheus
 */

CREATE FUNCTION wbcache.metric_descriptions(
	OUT metric text, OUT type text, OUT view name, OUT attribute name, OUT description text)
	RETURNS SETOF record
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 60
	AS 'MODULE_PATHNAME', 'wbcache_metric_descriptions';
COMMENT ON FUNCTION wbcache.metric_descriptions() IS
'All metrics: name and type as in metrics(), the view that shows the number and its column (NULL: none shows it so), and what it is.';

CREATE FUNCTION wbcache.metrics() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'wbcache_metrics';
COMMENT ON FUNCTION wbcache.metrics() IS
'The statistics in the text format of Prometheus: of this database''s endpoints, servers and invalidations, and of the whole server''s coalescing, memory and workers. For pg_monitor.
Errors: 55000 the library is not preloaded; 42501 not for you.';

-- The one list of counters says what these columns are.
DO $$
DECLARE
	each record;
BEGIN
	FOR each IN SELECT * FROM wbcache.metric_descriptions() WHERE attribute IS NOT NULL LOOP
		EXECUTE format('COMMENT ON COLUMN wbcache.%I.%I IS %L', each.view, each.attribute, each.description);
	END LOOP;
END $$;

REVOKE ALL ON FUNCTION
	wbcache.stat_window_counters(), wbcache.stat_latency_histograms(),
	wbcache.metric_descriptions(), wbcache.metrics()
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	wbcache.stat_window_counters(), wbcache.stat_latency_histograms(),
	wbcache.metric_descriptions(), wbcache.metrics()
	TO pg_monitor;
REVOKE ALL ON wbcache.stat_window, wbcache.stat_latency FROM PUBLIC;
GRANT SELECT ON wbcache.stat_window, wbcache.stat_latency TO pg_monitor;

REVOKE ALL ON FUNCTION
	wbcache.stat_endpoint_counters(), wbcache.stat_coalescer_counters(),
	wbcache.stat_server_counters(), wbcache.stat_memory_counters(),
	wbcache.stat_worker_entries(), wbcache.stat_invalidation_counters(),
	wbcache.invalidation_event_entries(), wbcache.stat_warmup_counters()
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	wbcache.stat_endpoint_counters(), wbcache.stat_coalescer_counters(),
	wbcache.stat_server_counters(), wbcache.stat_memory_counters(),
	wbcache.stat_worker_entries(), wbcache.stat_invalidation_counters(),
	wbcache.invalidation_event_entries(), wbcache.stat_warmup_counters()
	TO pg_monitor;
REVOKE ALL ON
	wbcache.stat_endpoint, wbcache.stat_coalescer, wbcache.stat_server,
	wbcache.stat_memory, wbcache.stat_worker, wbcache.stat_invalidation,
	wbcache.stat_sidebar, wbcache.stat_warmup, wbcache.invalidation_events
	FROM PUBLIC;
GRANT SELECT ON
	wbcache.stat_endpoint, wbcache.stat_coalescer, wbcache.stat_server,
	wbcache.stat_memory, wbcache.stat_worker, wbcache.stat_invalidation,
	wbcache.stat_sidebar, wbcache.stat_warmup, wbcache.invalidation_events
	TO pg_monitor;

/* ---------------------------------------------------------------------------
 * Health: what is wrong now.  Each part of the cache has a function with its
 * reasons; the view health_reasons puts them together.  For pg_monitor.
 *
 * Nothing here may fail because something is missing, or write: it is asked when
 * things are bad, on standbys too.  Where the library was not preloaded, the
 * statistics throw; health_facts() has no row then, and the functions that need
 * one are not called.  They have a search_path of their own, so that the planner
 * can't inline them and turn that order round.
 * --------------------------------------------------------------------------- */

CREATE TYPE wbcache.health_level AS ENUM ('healthy', 'warning', 'degraded');
COMMENT ON TYPE wbcache.health_level IS
'How the cache is. warning: something should be looked at. degraded: readers get errors, or old values, or will.';

CREATE TYPE wbcache.health_code AS ENUM (
	'not_preloaded', 'not_served', 'fetcher_missing', 'loader_missing',
	'breaker_open', 'breaker_half_open', 'server_paused', 'server_rate_limited',
	'read_errors', 'hit_ratio_low', 'refresh_failures', 'owner_gone',
	'flights_full', 'many_waiters',
	'memory_evicting', 'memory_refusing', 'table_tier_behind', 'registry_full', 'patterns_forgotten',
	'invalidation_rate', 'triggers_missing',
	'sidebar_missing', 'sidebar_not_populated', 'sidebar_refresh_failed', 'sidebar_old', 'sidebar_slow',
	'task_failed', 'task_interrupted', 'task_without_job',
	'warmer_degraded', 'warmer_not_run');
COMMENT ON TYPE wbcache.health_code IS 'All reasons that health() can give. RUNBOOK.md says of each what to do.';

CREATE TYPE wbcache.health_reason AS (
	code wbcache.health_code,
	level wbcache.health_level,
	part text,
	about text,
	message text,
	figures json);
COMMENT ON TYPE wbcache.health_reason IS 'a row of the view health_reasons';

CREATE TYPE wbcache.health_facts AS (
	served boolean,
	period interval,
	stores bigint,
	evictions bigint,
	refused bigint,
	unwritten bigint,
	max_flights integer,
	registrations integer,
	max_registrations integer,
	max_patterns integer);
COMMENT ON TYPE wbcache.health_facts IS 'what health_facts() returns';
COMMENT ON COLUMN wbcache.health_facts.served IS 'whether wbcache.databases names this database';
COMMENT ON COLUMN wbcache.health_facts.period IS 'how long the window of the next three is: 5 minutes and up to about 10 s, or since the server start';
COMMENT ON COLUMN wbcache.health_facts.stores IS 'entries stored in memory within that';
COMMENT ON COLUMN wbcache.health_facts.evictions IS 'entries that had to make room for others within that';
COMMENT ON COLUMN wbcache.health_facts.refused IS 'values for which no room could be made within that';
COMMENT ON COLUMN wbcache.health_facts.unwritten IS 'entries in memory that the table tier has yet to get';
COMMENT ON COLUMN wbcache.health_facts.max_flights IS 'wbcache.max_flights';
COMMENT ON COLUMN wbcache.health_facts.registrations IS 'registered keys';
COMMENT ON COLUMN wbcache.health_facts.max_registrations IS 'how many there is room for';
COMMENT ON COLUMN wbcache.health_facts.max_patterns IS 'how many patterns are remembered';

CREATE FUNCTION wbcache.health_facts() RETURNS SETOF wbcache.health_facts
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1
	AS 'MODULE_PATHNAME', 'wbcache_health_facts';
COMMENT ON FUNCTION wbcache.health_facts() IS 'what health() needs and no view shows, over all databases; no row: the library is not preloaded';

CREATE FUNCTION wbcache.health_of_workers(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'not_served'::wbcache.health_code, 'degraded'::wbcache.health_level, 'workers', current_database()::text,
			format('wbcache.databases does not name "%s": nothing is fetched for this database', current_database()),
			json_build_object('databases', current_setting('wbcache.databases'))
		WHERE NOT facts.served
	UNION ALL
	SELECT 'fetcher_missing', 'degraded', 'workers', current_database(),
			'no fetcher runs for this database: keys of servers can''t be fetched',
			json_build_object('starts', coalesce(sum(w.starts), 0), 'max_worker_processes', current_setting('max_worker_processes')::integer)
		FROM wbcache.stat_worker w WHERE w.kind = 'fetcher' AND w.database = current_database()
		HAVING facts.served AND count(w.pid) = 0
	UNION ALL
	SELECT 'loader_missing', CASE count(w.pid) WHEN 0 THEN 'degraded' ELSE 'warning' END::wbcache.health_level, 'workers', current_database(),
			format('%s of %s loaders (wbcache.loaders) run for this database%s', count(w.pid), current_setting('wbcache.loaders'),
				CASE count(w.pid) WHEN 0 THEN ': keys with a loader can''t be fetched, no task runs, nothing is written to the table tier' END),
			json_build_object('running', count(w.pid), 'loaders', current_setting('wbcache.loaders')::integer,
				'max_worker_processes', current_setting('max_worker_processes')::integer)
		FROM wbcache.stat_worker w WHERE w.kind = 'loader' AND w.database = current_database()
		HAVING facts.served AND count(w.pid) < greatest(current_setting('wbcache.loaders')::integer, 1);
END;
COMMENT ON FUNCTION wbcache.health_of_workers(wbcache.health_facts) IS 'the part "workers" of health_reasons';

CREATE FUNCTION wbcache.health_of_servers(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'breaker_open'::wbcache.health_code, 'degraded'::wbcache.health_level, 'servers', s.server::text,
			format('server "%s" is not asked, after %s failures in a row, the last one with: %s', s.server, s.consecutive_failures, s.last_error),
			json_build_object('consecutive_failures', s.consecutive_failures, 'next_try', s.next_try, 'last_error_at', s.last_error_at)
		FROM wbcache.stat_server s WHERE s.breaker_state = 'open'
	UNION ALL
	SELECT 'breaker_half_open', 'warning', 'servers', s.server,
			format('server "%s" is being tried again with one request, after %s failures in a row', s.server, s.consecutive_failures),
			json_build_object('consecutive_failures', s.consecutive_failures, 'last_error', s.last_error, 'last_error_at', s.last_error_at)
		FROM wbcache.stat_server s WHERE s.breaker_state = 'half-open'
	UNION ALL
	SELECT 'server_paused', 'warning', 'servers', s.server,
			format('server "%s" has asked for a pause of %s s more', s.server, round(extract(epoch FROM s.paused_until - clock_timestamp()))),
			json_build_object('paused_until', s.paused_until, 'rate_limit', s.rate_limit, 'rate_limited', s.rate_limited)
		FROM wbcache.stat_server s WHERE s.paused_until > clock_timestamp()
	UNION ALL
	SELECT 'server_rate_limited', 'warning', 'servers', s.server,
			format('server "%s" has had all %s requests that its rate_limit allows for now', s.server, s.rate_limit),
			json_build_object('rate_limit', s.rate_limit, 'rate_used', s.rate_used, 'rate_window_ends', s.rate_window_ends, 'rate_limited', s.rate_limited)
		FROM wbcache.stat_server s WHERE s.rate_used >= s.rate_limit;
END;
COMMENT ON FUNCTION wbcache.health_of_servers(wbcache.health_facts) IS 'the part "servers" of health_reasons';

CREATE FUNCTION wbcache.health_of_reads(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH recent AS (
		SELECT sum(w.requests) AS reads, sum(w.hits + w.stale) AS served, sum(w.errors) AS errors, max(w.period) AS period,
			(array_agg(w.endpoint ORDER BY w.requests - w.hits - w.stale - w.errors DESC))[1] AS most_misses,
			(array_agg(w.endpoint ORDER BY w.errors DESC))[1] AS most_errors
		FROM wbcache.stat_window w HAVING sum(w.requests) >= greatest(current_setting('wbcache.health_min_reads')::bigint, 1))
	SELECT 'read_errors'::wbcache.health_code, 'degraded'::wbcache.health_level, 'cache', r.most_errors::text,
			format('%s %% of the reads of the last 5 minutes ended in an error, most of them of endpoint "%s"', round(100 * r.errors / r.reads, 1), r.most_errors),
			json_build_object('reads', r.reads, 'errors', r.errors, 'period_s', round(extract(epoch FROM r.period)))
		FROM recent r WHERE 100 * r.errors > current_setting('wbcache.health_error_percent')::integer * r.reads
	UNION ALL
	SELECT 'hit_ratio_low', 'warning', 'cache', r.most_misses,
			format('%s %% of the reads of the last 5 minutes were answered from the cache; most misses are of endpoint "%s"', round(100 * r.served / r.reads, 1), r.most_misses),
			json_build_object('reads', r.reads, 'hits_and_stale', r.served, 'errors', r.errors, 'period_s', round(extract(epoch FROM r.period)))
		FROM recent r WHERE 100 * r.served < current_setting('wbcache.health_hit_percent')::integer * r.reads
	UNION ALL
	SELECT 'refresh_failures', CASE w.refresh_successes WHEN 0 THEN 'degraded' ELSE 'warning' END::wbcache.health_level, 'cache', w.endpoint,
			format('%s of %s fetches of endpoint "%s" have failed within 5 minutes', w.refresh_failures, n.fetches, w.endpoint),
			json_build_object('failures', w.refresh_failures, 'successes', w.refresh_successes, 'period_s', round(extract(epoch FROM w.period)))
		FROM wbcache.stat_window w CROSS JOIN LATERAL (SELECT w.refresh_failures + w.refresh_successes) n (fetches)
		WHERE n.fetches >= current_setting('wbcache.health_min_fetches')::bigint
			AND 100 * w.refresh_failures > current_setting('wbcache.health_failure_percent')::integer * n.fetches
	UNION ALL
	SELECT 'owner_gone', CASE WHEN coalesce(e.server, e.loader) IS NULL THEN 'warning' ELSE 'degraded' END::wbcache.health_level, 'cache', e.name,
			format('endpoint "%s" belongs to role %s, which was dropped', e.name, e.owner::oid),
			json_build_object('owner', e.owner::oid, 'server', e.server, 'loader', e.loader)
		FROM wbcache.endpoint e WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = e.owner);
END;
COMMENT ON FUNCTION wbcache.health_of_reads(wbcache.health_facts) IS 'the part "cache" of health_reasons';

CREATE FUNCTION wbcache.health_of_coalescer(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'flights_full'::wbcache.health_code, 'degraded'::wbcache.health_level, 'coalescer', NULL::text,
			format('%s fetches are under way or queued, and there is room for %s; beyond that, misses fail', c.pending_keys, facts.max_flights),
			json_build_object('pending_keys', c.pending_keys, 'max_flights', facts.max_flights, 'waiters', c.waiters)
		FROM wbcache.stat_coalescer c
		WHERE 100 * c.pending_keys > current_setting('wbcache.health_full_percent')::bigint * facts.max_flights
	UNION ALL
	SELECT 'many_waiters', 'warning', 'coalescer', NULL,
			format('%s reads wait for a fetch', c.waiters),
			json_build_object('waiters', c.waiters, 'pending_keys', c.pending_keys, 'avg_wait_time_ms', c.avg_wait_time_ms)
		FROM wbcache.stat_coalescer c
		WHERE c.waiters > nullif(current_setting('wbcache.health_waiters')::bigint, 0);
END;
COMMENT ON FUNCTION wbcache.health_of_coalescer(wbcache.health_facts) IS 'the part "coalescer" of health_reasons';

CREATE FUNCTION wbcache.health_of_memory(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'memory_evicting'::wbcache.health_code, 'warning'::wbcache.health_level, 'memory', NULL::text,
			format('%s entries a minute have to leave memory for others', round(n.evictions)),
			json_build_object('evictions', facts.evictions, 'stores', facts.stores, 'period_s', round(n.seconds), 'used_percent', m.used_percent, 'size', m.size)
		FROM wbcache.stat_memory m, LATERAL (
			SELECT extract(epoch FROM facts.period) AS seconds, facts.evictions / greatest(extract(epoch FROM facts.period) / 60, 1) AS evictions) n
		WHERE n.evictions > nullif(current_setting('wbcache.health_eviction_rate')::bigint, 0)
	UNION ALL
	SELECT 'memory_refusing', 'warning', 'memory', NULL,
			format('no room could be made in memory for %s values within 5 minutes', facts.refused),
			json_build_object('refused', facts.refused, 'stores', facts.stores, 'period_s', round(extract(epoch FROM facts.period)), 'used_percent', m.used_percent, 'size', m.size)
		FROM wbcache.stat_memory m WHERE facts.refused > 0
	UNION ALL
	SELECT 'table_tier_behind', 'warning', 'memory', NULL,
			format('%s entries wait to be written to the table tier', facts.unwritten),
			json_build_object('unwritten', facts.unwritten, 'entries', m.entries, 'slots', m.slots)
		FROM wbcache.stat_memory m
		WHERE 100 * facts.unwritten > current_setting('wbcache.health_unwritten_percent')::integer * m.slots
	UNION ALL
	SELECT 'registry_full', 'warning', 'memory', NULL,
			format('%s keys are registered for games, and there is room for %s', facts.registrations, facts.max_registrations),
			json_build_object('registrations', facts.registrations, 'max_registrations', facts.max_registrations)
		WHERE 100 * facts.registrations::bigint > current_setting('wbcache.health_full_percent')::integer * facts.max_registrations::bigint;
END;
COMMENT ON FUNCTION wbcache.health_of_memory(wbcache.health_facts) IS 'the part "memory" of health_reasons';

CREATE FUNCTION wbcache.health_of_invalidation(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'invalidation_rate'::wbcache.health_code, 'warning'::wbcache.health_level, 'invalidation', NULL::text,
			format('%s invalidations within a minute', i.per_minute),
			json_build_object('per_minute', i.per_minute, 'threshold', i.threshold)
		FROM wbcache.stat_invalidation i WHERE i.alert
	UNION ALL
	SELECT 'patterns_forgotten', 'warning', 'invalidation', NULL,
			format('%s patterns were invalidated within a minute, and %s are remembered: what is read less often is fetched again', sum(e.count), facts.max_patterns),
			json_build_object('patterns', sum(e.count), 'remembered', facts.max_patterns)
		FROM wbcache.invalidation_events e WHERE e.kind = 'pattern' AND e.at > clock_timestamp() - interval '1 minute'
		HAVING sum(e.count) > facts.max_patterns
	UNION ALL
	SELECT 'triggers_missing', 'degraded', 'invalidation', t.relation::text,
			format('changes of table %s do not invalidate all that wbcache.%s() says: %s', t.relation, t.bound_by,
				concat_ws('; ', CASE WHEN t.triggers < t.made THEN format('%s of its %s triggers are there and ENABLE ALWAYS', t.triggers, t.made) END,
					CASE WHEN t.no_view THEN 'the view wbcache.events is missing' END)),
			json_build_object('triggers', t.triggers, 'made', t.made, 'view', NOT t.no_view)
		FROM (
			SELECT g.tgrelid::regclass AS relation, count(*) FILTER (WHERE g.tgenabled = 'A') AS triggers,
				-- A partition has no copy of the one for TRUNCATE.
				CASE WHEN bool_or(g.tgparentid = 0) THEN 3 ELSE 2 END AS made,
				k.bound_by, k.bound_by = 'bind_events' AND to_regclass('wbcache.events') IS NULL AS no_view
			FROM pg_trigger g JOIN (VALUES ('wbcache.events_changed()'::regprocedure, 'bind_events'),
					('wbcache.odds_changed()'::regprocedure, 'watch_odds')) k (function, bound_by) ON k.function = g.tgfoid
			GROUP BY g.tgrelid, k.bound_by) t
		WHERE t.triggers < t.made OR t.no_view;
END;
COMMENT ON FUNCTION wbcache.health_of_invalidation(wbcache.health_facts) IS 'the part "invalidation" of health_reasons';

-- What the sidebar shows is right all the same: these make its loads dearer. A standby can't refresh anything.
CREATE FUNCTION wbcache.health_of_sidebar(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT r.code, 'warning'::wbcache.health_level, 'sidebar', 'sidebar_data'::text, r.message,
			json_build_object('state', s.state, 'age_s', round(extract(epoch FROM s.age)), 'last_ms', s.last_ms, 'failures', s.failures, 'fallbacks', s.fallbacks)
		FROM wbcache.stat_sidebar s, LATERAL (VALUES
			('sidebar_missing'::wbcache.health_code, s.state = 'missing',
				'wbcache.sidebar_data is missing: the sidebar reads the events each time'),
			('sidebar_not_populated', s.state = 'not populated',
				'wbcache.sidebar_data is not populated: the sidebar reads the events each time'),
			('sidebar_refresh_failed', s.last_error IS NOT NULL,
				format('the last refresh of wbcache.sidebar_data has failed: %s', s.last_error)),
			('sidebar_old', s.state = 'behind' AND NOT pg_is_in_recovery()
				AND current_setting('wbcache.health_sidebar_age')::interval > '0'
				AND (s.age > current_setting('wbcache.health_sidebar_age')::interval) IS NOT FALSE,
				'wbcache.sidebar_data is behind the events, and was ' || coalesce('last refreshed ' || date_trunc('second', s.age) || ' ago', 'never refreshed')),
			('sidebar_slow', (SELECT l.alert_triggered FROM wbcache.sidebar_refresh_log l WHERE l.error IS NULL ORDER BY l.started DESC LIMIT 1),
				format('the last refresh of wbcache.sidebar_data took %s ms', round(s.last_ms)))) r (code, applies, message)
		WHERE r.applies AND to_regclass('wbcache.events') IS NOT NULL;
END;
COMMENT ON FUNCTION wbcache.health_of_sidebar(wbcache.health_facts) IS 'the part "sidebar" of health_reasons; none where no table of events is bound';

-- Runs as its owner, since pg_cron shows a role its own jobs only.
CREATE FUNCTION wbcache.tasks_without_job() RETURNS TABLE (task name, why text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM wbcache.task t WHERE t.driver = 'cron') THEN
		RETURN;
	ELSIF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
		why := 'pg_cron is not installed in this database';
	ELSIF current_setting('cron.database_name', true) IS DISTINCT FROM current_database() THEN
		why := 'pg_cron is not running for this database';
	ELSE
		RETURN QUERY EXECUTE $q$
			SELECT t.name, CASE WHEN j.jobid IS NULL THEN 'its job is gone' ELSE 'its job is not active' END
			FROM wbcache.task t LEFT JOIN cron.job j ON j.jobid = t.cron_job AND j.jobname = 'wbcache task ' || t.name
			WHERE t.driver = 'cron' AND j.active IS NOT TRUE $q$;
		RETURN;
	END IF;
	RETURN QUERY SELECT t.name, why FROM wbcache.task t WHERE t.driver = 'cron';
END $$;
COMMENT ON FUNCTION wbcache.tasks_without_job() IS
'The tasks that were handed over to pg_cron, and that it does not run, with the cause. For pg_monitor.';

CREATE FUNCTION wbcache.health_of_tasks(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE t.last_result WHEN 'failed' THEN 'task_failed' ELSE 'task_interrupted' END::wbcache.health_code, 'warning'::wbcache.health_level,
			'tasks', t.name::text,
			CASE t.last_result WHEN 'failed' THEN format('the last run of task "%s" has failed: %s', t.name, t.last_detail)
				ELSE format('the last run of task "%s" was cut off', t.name) END,
			json_build_object('failures', t.failures, 'last_start', t.last_start, 'last_end', t.last_end, 'next_start', t.next_start, 'driver', t.driver)
		FROM wbcache.task t WHERE t.last_result IN ('failed', 'interrupted')
	UNION ALL
	SELECT 'owner_gone', 'warning', 'tasks', t.name,
			format('task "%s" belongs to role %s, which was dropped', t.name, t.owner::oid),
			json_build_object('owner', t.owner::oid, 'function', t.function)
		FROM wbcache.task t WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = t.owner)
	UNION ALL
	SELECT 'task_without_job', 'warning', 'tasks', t.name,
			format('pg_cron does not run task "%s": %s', t.name, w.why),
			json_build_object('cron_job', t.cron_job, 'cron_schedule', t.cron_schedule, 'last_start', t.last_start)
		FROM wbcache.tasks_without_job() w JOIN wbcache.task t ON t.name = w.task WHERE NOT pg_is_in_recovery();
END;
COMMENT ON FUNCTION wbcache.health_of_tasks(wbcache.health_facts) IS 'the part "tasks" of health_reasons';

CREATE FUNCTION wbcache.health_of_warmer(facts wbcache.health_facts) RETURNS SETOF wbcache.health_reason
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'warmer_degraded'::wbcache.health_code, 'warning'::wbcache.health_level, 'warmer', 'warmer'::text,
			format('the last run of the warmer had %s errors, the last one: %s', w.errors, w.last_error),
			json_build_object('errors', w.errors, 'requests', w.requests, 'last_run_at', w.last_run_at, 'last_result', w.last_result,
				'fixtures_warmed', w.fixtures_warmed, 'skipped_for_budget', w.skipped_for_budget)
		FROM wbcache.stat_warmer w WHERE w.status = 'degraded'
	UNION ALL
	SELECT 'warmer_not_run', 'warning', 'warmer', t.name,
			'the warmer was ' || coalesce(format('last started %s ago', date_trunc('second', clock_timestamp() - t.last_start)), 'never started'),
			json_build_object('last_start', t.last_start, 'next_start', t.next_start, 'driver', t.driver)
		FROM wbcache.task t
		WHERE t.name = 'warmer' AND NOT pg_is_in_recovery()
			AND coalesce(t.last_start, t.next_start) < clock_timestamp() - nullif(current_setting('wbcache.health_warmer_age')::interval, '0');
END;
COMMENT ON FUNCTION wbcache.health_of_warmer(wbcache.health_facts) IS 'the part "warmer" of health_reasons; none where there is no task "warmer"';

CREATE VIEW wbcache.health_reasons AS
	SELECT r.code, r.level, r.part, r.about, r.message, r.figures
	FROM wbcache.health_facts() f CROSS JOIN LATERAL (
		SELECT * FROM wbcache.health_of_workers(f)
		UNION ALL SELECT * FROM wbcache.health_of_servers(f)
		UNION ALL SELECT * FROM wbcache.health_of_reads(f)
		UNION ALL SELECT * FROM wbcache.health_of_coalescer(f)
		UNION ALL SELECT * FROM wbcache.health_of_memory(f)
		UNION ALL SELECT * FROM wbcache.health_of_invalidation(f)
		UNION ALL SELECT * FROM wbcache.health_of_sidebar(f)
		UNION ALL SELECT * FROM wbcache.health_of_tasks(f)
		UNION ALL SELECT * FROM wbcache.health_of_warmer(f)) r
	UNION ALL
	SELECT 'not_preloaded', 'degraded', 'workers', NULL,
		'the server was started without wbcache in shared_preload_libraries: there is no cache',
		json_build_object('shared_preload_libraries', current_setting('shared_preload_libraries', true))
	WHERE NOT EXISTS (SELECT FROM wbcache.health_facts());
COMMENT ON VIEW wbcache.health_reasons IS 'what is wrong with the cache of this database now; no row: nothing. From when on is said by the settings wbcache.health_*. RUNBOOK.md says what to do';
COMMENT ON COLUMN wbcache.health_reasons.code IS 'what it is, as in RUNBOOK.md';
COMMENT ON COLUMN wbcache.health_reasons.level IS 'warning or degraded';
COMMENT ON COLUMN wbcache.health_reasons.part IS 'part of the cache: workers, servers, cache, coalescer, memory, invalidation, sidebar, tasks, warmer';
COMMENT ON COLUMN wbcache.health_reasons.about IS 'name of the server, endpoint, task, database, table or view; NULL: none';
COMMENT ON COLUMN wbcache.health_reasons.message IS 'what it is, in words';
COMMENT ON COLUMN wbcache.health_reasons.figures IS 'and in numbers';

CREATE FUNCTION wbcache.health() RETURNS json
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT json_build_object('status', coalesce(max(r.level), 'healthy'), 'database', current_database(), 'at', clock_timestamp(),
			'reasons', coalesce(json_agg(r ORDER BY r.level DESC, r.code, r.about), '[]'))
		FROM wbcache.health_reasons r;
END;
COMMENT ON FUNCTION wbcache.health() IS
'How the cache of this database is: status (healthy, warning or degraded: that of the worst reason), database, at, and reasons, an array of the rows of health_reasons, the worst first. Works in READ ONLY transactions, on standbys, and where the library was not preloaded. For pg_monitor.';

CREATE FUNCTION wbcache.health_status() RETURNS integer
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(max(CASE r.level WHEN 'degraded' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END), 0) FROM wbcache.health_reasons r;
END;
COMMENT ON FUNCTION wbcache.health_status() IS
'What health() has as status, as a number for programs that check: 0 healthy, 1 warning, 2 degraded. For pg_monitor.';

CREATE FUNCTION wbcache.health_cache() RETURNS json
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	since_start json;
	recent json;
BEGIN
	IF EXISTS (SELECT FROM wbcache.health_facts()) THEN
		SELECT json_build_object('hits', n.hits, 'misses', n.reads - n.hits - n.stale - n.errors, 'stale_serves', n.stale, 'errors', n.errors,
				'hit_ratio', round((n.hits + n.stale) / nullif(n.reads, 0), 4))
			INTO since_start
			FROM (SELECT coalesce(sum(hits), 0) AS hits, coalesce(sum(stale), 0) AS stale, coalesce(sum(errors), 0) AS errors,
					coalesce(sum(hits + stale + misses + collapsed + bypasses + errors), 0) AS reads
				FROM wbcache.stat_endpoint) n;
		SELECT json_build_object('hits', n.hits, 'misses', n.reads - n.hits - n.stale - n.errors, 'stale_serves', n.stale, 'errors', n.errors,
				'hit_ratio', round((n.hits + n.stale) / nullif(n.reads, 0), 4), 'period_s', round(extract(epoch FROM n.period)),
				'refresh_successes', n.successes, 'refresh_failures', n.failures)
			INTO recent
			FROM (SELECT coalesce(sum(hits), 0) AS hits, coalesce(sum(stale), 0) AS stale, coalesce(sum(errors), 0) AS errors,
					coalesce(sum(requests), 0) AS reads, max(period) AS period,
					coalesce(sum(refresh_successes), 0) AS successes, coalesce(sum(refresh_failures), 0) AS failures
				FROM wbcache.stat_window) n;
	END IF;
	RETURN (SELECT json_build_object('status', coalesce(max(r.level), 'healthy'),
			'hits', since_start -> 'hits', 'misses', since_start -> 'misses', 'stale_serves', since_start -> 'stale_serves',
			'errors', since_start -> 'errors', 'hit_ratio', since_start -> 'hit_ratio', 'recent', recent,
			'reasons', coalesce(json_agg(r ORDER BY r.level DESC, r.code, r.about), '[]'))
		FROM wbcache.health_reasons r WHERE r.part NOT IN ('coalescer', 'sidebar', 'tasks', 'warmer'));
END $$;
COMMENT ON FUNCTION wbcache.health_cache() IS
'How the reads of this database are answered, since the server start or stat_reset(): status, hits, misses (all that waited, or could not believe the cache), stale_serves, errors, hit_ratio (hits and stale serves among all, 0 to 1; NULL before the first), recent (the same of the last 5 minutes, and fetches), and reasons (those of workers, servers, reads, memory and invalidation). NULL: the library is not preloaded. For pg_monitor.';

CREATE FUNCTION wbcache.health_coalescer() RETURNS json
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	counts json;
BEGIN
	IF EXISTS (SELECT FROM wbcache.health_facts()) THEN
		SELECT row_to_json(c) INTO counts FROM wbcache.stat_coalescer c;
	END IF;
	RETURN (SELECT json_build_object('status', coalesce(max(r.level), 'healthy'),
			'coalesced_requests', counts -> 'coalesced_requests', 'api_calls_made', counts -> 'upstream_calls',
			'hit_rate_percent', counts -> 'hit_rate_percent', 'avg_wait_time_ms', counts -> 'avg_wait_time_ms',
			'max_concurrent_waiters', counts -> 'max_concurrent_waiters', 'waiters', counts -> 'waiters', 'pending_keys', counts -> 'pending_keys',
			'reasons', coalesce(json_agg(r ORDER BY r.level DESC, r.code, r.about), '[]'))
		FROM wbcache.health_reasons r WHERE r.part IN ('workers', 'coalescer'));
END $$;
COMMENT ON FUNCTION wbcache.health_coalescer() IS
'How requests share fetches, over all databases, since the server start or stat_reset(): status, coalesced_requests, api_calls_made (HTTP requests and runs of loaders), hit_rate_percent (coalesced requests among all), avg_wait_time_ms, max_concurrent_waiters, waiters, pending_keys, and reasons. NULL: none yet, or the library is not preloaded. For pg_monitor.';

CREATE FUNCTION wbcache.health_cache_props() RETURNS json
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	run json;
BEGIN
	IF EXISTS (SELECT FROM wbcache.health_facts()) THEN
		SELECT row_to_json(w) INTO run FROM wbcache.stat_warmer w;
	END IF;
	RETURN (SELECT json_build_object('status', coalesce(max(r.level), 'healthy'),
			'last_run_at', run -> 'last_run_at', 'running', run -> 'running', 'fixtures_warmed', run -> 'fixtures_warmed',
			'categories_cached', run -> 'categories_cached', 'props_cached', run -> 'props_cached',
			'errors', run -> 'errors', 'last_error', run -> 'last_error', 'skipped_for_budget', run -> 'skipped_for_budget',
			'reasons', coalesce(json_agg(r ORDER BY r.level DESC, r.code, r.about), '[]'))
		FROM wbcache.health_reasons r WHERE r.part IN ('workers', 'warmer') OR r.part = 'tasks' AND r.about = 'warmer');
END $$;
COMMENT ON FUNCTION wbcache.health_cache_props() IS
'How the warmer of props is: status, and of its last run, or the one under way, last_run_at, running, fixtures_warmed, categories_cached, props_cached, errors, last_error, skipped_for_budget (games); and reasons. NULL: none since the server start, or the library is not preloaded. For pg_monitor.';

CREATE FUNCTION wbcache.report_warmer() RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('%-16s %s', 'warmer', CASE WHEN w.last_run_at IS NULL THEN 'has not run since the server start' ELSE
			format('%s, %s s ago: %s games, %s categories, %s props, %s requests, %s errors', w.status,
				round(extract(epoch FROM clock_timestamp() - w.last_run_at)), w.fixtures_warmed, w.categories_cached, w.props_cached, w.requests, w.errors) END)
		FROM wbcache.stat_warmer w;
END;
COMMENT ON FUNCTION wbcache.report_warmer() IS 'For report(): a line for the warmer.';

/* ---------------------------------------------------------------------------
 * The report: one screen of text.  For pg_monitor.
 * --------------------------------------------------------------------------- */

CREATE FUNCTION wbcache.report_bar(width integer, filled numeric, striped numeric, bad numeric, whole numeric) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN (SELECT repeat('#', a) || repeat('=', b - a) || repeat('.', width - b - c) || repeat('!', c)
		FROM (SELECT floor(width * filled / nullif(whole, 0))::integer, floor(width * (filled + striped) / nullif(whole, 0))::integer) n (a, b),
			LATERAL (SELECT least(ceil(width * bad / nullif(whole, 0))::integer, width - b)) m (c));
COMMENT ON FUNCTION wbcache.report_bar(integer, numeric, numeric, numeric, numeric) IS
'For report(): a bar of so many characters, # for the part that is filled, = for what is striped, ! for what is bad, dots for the rest of the whole. What is bad has one at least.';

CREATE FUNCTION wbcache.report_reads() RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('%-28s %9s %7s %7s %7s %7s  %s', 'READS, LAST 5 MINUTES', 'reads/s', 'hit %', 'stale %', 'miss %', 'error %', '#hit =stale .miss !error')
	UNION ALL
	SELECT line FROM (
		SELECT format('%-28s %9s %7s %7s %7s %7s  %s', left(n.name, 28),
				round(n.reads / greatest(extract(epoch FROM n.period), 1), 1), round(100 * n.hits / n.reads, 1), round(100 * n.stale / n.reads, 1),
				round(100 * (n.reads - n.hits - n.stale - n.errors) / n.reads, 1), round(100 * n.errors / n.reads, 1),
				wbcache.report_bar(25, n.hits, n.stale, n.errors, n.reads)) AS line
			FROM (
				SELECT CASE WHEN grouping(w.endpoint) = 1 THEN 'all endpoints' ELSE w.endpoint::text END AS name, grouping(w.endpoint) AS total,
					sum(w.requests) AS reads, sum(w.hits) AS hits, sum(w.stale) AS stale, sum(w.errors) AS errors, max(w.period) AS period
				FROM wbcache.stat_window w GROUP BY ROLLUP (w.endpoint)) n
			WHERE n.reads > 0 ORDER BY n.total DESC, n.reads DESC, n.name LIMIT 8) r;
END;
COMMENT ON FUNCTION wbcache.report_reads() IS 'For report(): the endpoints that are read most.';

CREATE FUNCTION wbcache.report_upstreams() RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('%-28s %-24s %9s %9s %9s %9s', 'SLOWEST UPSTREAMS', 'server or loader', 'fetches', 'p50 ms', 'p99 ms', 'max ms')
	UNION ALL
	SELECT line FROM (
		SELECT format('%-28s %-24s %9s %9s %9s %9s', left(l.endpoint, 28), left(coalesce(e.server, e.loader), 24), l.count,
				round(l.p50_ms, 1), round(l.p99_ms, 1), round(l.max_ms, 1)) AS line
			FROM wbcache.stat_latency l JOIN wbcache.endpoint e ON e.name = l.endpoint
			WHERE l.operation IN ('fetch', 'load') ORDER BY l.p99_ms DESC, l.endpoint LIMIT 5) u
	UNION ALL
	SELECT ''
	UNION ALL
	SELECT format('%-28s %-9s %8s %9s %9s  %s', 'SERVERS', 'breaker', 'running', 'requests', 'failures', 'last error')
	UNION ALL
	SELECT line FROM (
		SELECT format('%-28s %-9s %8s %9s %9s  %s', left(s.server, 28), s.breaker_state, s.running, s.requests, s.failures,
				coalesce(to_char(s.last_error_at, 'HH24:MI:SS ') || left(s.last_error, 22), '-')) AS line
			FROM wbcache.stat_server s ORDER BY s.breaker_state = 'closed', s.requests DESC, s.server LIMIT 5) t;
END;
COMMENT ON FUNCTION wbcache.report_upstreams() IS 'For report(): what takes longest to fetch, and the servers, those whose breaker is not closed first.';

CREATE FUNCTION wbcache.report_rest() RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('%-16s [%s] %s %% of %s, %s entries, %s evicted and %s refused in %s s', 'memory',
			wbcache.report_bar(20, m.used, 0, 0, m.size), round(m.used_percent, 1), pg_size_pretty(m.size), m.entries,
			f.evictions, f.refused, round(extract(epoch FROM f.period)))
		FROM wbcache.stat_memory m, wbcache.health_facts() f
	UNION ALL
	SELECT format('%-16s %s waiting (most: %s), %s pending, %s %% of requests shared a fetch, average wait %s ms', 'coalescer',
			c.waiters, c.max_concurrent_waiters, c.pending_keys, coalesce(c.hit_rate_percent, 0), coalesce(round(c.avg_wait_time_ms, 1), 0))
		FROM wbcache.stat_coalescer c
	UNION ALL
	SELECT format('%-16s %s within a minute (alert above %s), %s in all; %s rows of the table tier purged', 'invalidations',
			i.per_minute, i.threshold, i.total, i.rows_purged)
		FROM wbcache.stat_invalidation i
	UNION ALL
	SELECT format('%-16s %s', 'sidebar', CASE WHEN to_regclass('wbcache.events') IS NULL THEN 'no table of events is bound' ELSE
			format('%s, refreshed %s s ago in %s ms, %s failures, %s loads without it', s.state, coalesce(round(extract(epoch FROM s.age))::text, '-'),
				coalesce(round(s.last_ms, 1)::text, '-'), s.failures, s.fallbacks) END)
		FROM wbcache.stat_sidebar s
	UNION ALL
	SELECT format('%-16s %s', 'tasks', coalesce(left(string_agg(format('%s %s', t.name, coalesce(t.last_result, 'not run yet')), ', ' ORDER BY t.name), 80), 'none'))
		FROM wbcache.task t
	UNION ALL
	SELECT format('%-16s %s', 'workers', coalesce(string_agg(format('%s %s', w.running, w.kind), ', ' ORDER BY w.kind), 'none'))
		FROM (SELECT kind, count(pid) AS running FROM wbcache.stat_worker WHERE database = current_database() OR database IS NULL GROUP BY kind) w;
END;
COMMENT ON FUNCTION wbcache.report_rest() IS 'For report(): a line each for memory, coalescer, invalidations, sidebar, tasks, workers.';

CREATE FUNCTION wbcache.report() RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	head text;
	body text := '';
BEGIN
	SELECT format('wbcache of "%s" at %s: %s', current_database(), to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS TZ'), coalesce(max(r.level), 'healthy'))
			|| coalesce(E'\n' || string_agg(CASE WHEN r.n <= 6 THEN left(format('%-9s %s: %s', r.level, r.code, r.message), 100) END, E'\n' ORDER BY r.n), '')
			|| CASE WHEN count(*) > 6 THEN format(E'\n... and %s more: SELECT * FROM wbcache.health_reasons', count(*) - 6) ELSE '' END
		INTO head
		FROM (SELECT *, row_number() OVER (ORDER BY level DESC, code, about) AS n FROM wbcache.health_reasons) r;
	IF EXISTS (SELECT FROM wbcache.health_facts()) THEN
		SELECT string_agg(E'\n' || left(p.line, 100), '' ORDER BY p.part, p.n) INTO body FROM (
			SELECT 1 AS part, * FROM wbcache.report_reads() WITH ORDINALITY a (line, n)
			UNION ALL VALUES (2, '', 0)
			UNION ALL SELECT 3, * FROM wbcache.report_upstreams() WITH ORDINALITY b (line, n)
			UNION ALL VALUES (4, '', 0)
			UNION ALL SELECT 5, * FROM wbcache.report_rest() WITH ORDINALITY c (line, n)
			UNION ALL SELECT 6, * FROM wbcache.report_warmer() WITH ORDINALITY d (line, n)) p;
		body := E'\n' || body;
	END IF;
	RETURN head || body;
END $$;
COMMENT ON FUNCTION wbcache.report() IS
'All of it on one screen of 100 columns and about 40 lines: what health() says, the endpoints read most within the last 5 minutes, what is slowest to fetch, servers, memory, coalescing, invalidations, sidebar, tasks, workers. To be read: its form may change. For pg_monitor.';

REVOKE ALL ON FUNCTION
	wbcache.health_facts(),
	wbcache.health_of_workers(wbcache.health_facts), wbcache.health_of_servers(wbcache.health_facts),
	wbcache.health_of_reads(wbcache.health_facts), wbcache.health_of_coalescer(wbcache.health_facts),
	wbcache.health_of_memory(wbcache.health_facts), wbcache.health_of_invalidation(wbcache.health_facts),
	wbcache.health_of_sidebar(wbcache.health_facts), wbcache.health_of_tasks(wbcache.health_facts),
	wbcache.tasks_without_job(),
	wbcache.health_of_warmer(wbcache.health_facts), wbcache.health_cache_props(), wbcache.report_warmer(),
	wbcache.health(), wbcache.health_status(), wbcache.health_cache(), wbcache.health_coalescer(),
	wbcache.report_bar(integer, numeric, numeric, numeric, numeric),
	wbcache.report_reads(), wbcache.report_upstreams(), wbcache.report_rest(), wbcache.report()
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	wbcache.health_facts(),
	wbcache.health_of_workers(wbcache.health_facts), wbcache.health_of_servers(wbcache.health_facts),
	wbcache.health_of_reads(wbcache.health_facts), wbcache.health_of_coalescer(wbcache.health_facts),
	wbcache.health_of_memory(wbcache.health_facts), wbcache.health_of_invalidation(wbcache.health_facts),
	wbcache.health_of_sidebar(wbcache.health_facts), wbcache.health_of_tasks(wbcache.health_facts),
	wbcache.tasks_without_job(),
	wbcache.health_of_warmer(wbcache.health_facts), wbcache.health_cache_props(), wbcache.report_warmer(),
	wbcache.health(), wbcache.health_status(), wbcache.health_cache(), wbcache.health_coalescer(),
	wbcache.report_bar(integer, numeric, numeric, numeric, numeric),
	wbcache.report_reads(), wbcache.report_upstreams(), wbcache.report_rest(), wbcache.report()
	TO pg_monitor;
REVOKE ALL ON wbcache.health_reasons FROM PUBLIC;
GRANT SELECT ON wbcache.health_reasons TO pg_monitor;

/* ---------------------------------------------------------------------------
 * What is open to all. Said explicitly, since ALTER DEFAULT PRIVILEGES may have
 * taken from PUBLIC what it has otherwise.
 * --------------------------------------------------------------------------- */

GRANT EXECUTE ON FUNCTION
	wbcache.wbcache_http_validator(text[], oid),
	wbcache.get(text), wbcache.lookup(text), wbcache.get_many(text[]),
	wbcache.set(text, json, interval, interval, text[], bigint), wbcache.acquire(text, interval), wbcache.delete(text),
	wbcache.invalidate(text, wbcache.invalidation_reason),
	wbcache.register_cache_key(text, text),
	wbcache.classify_game_status(text), wbcache.is_status_off(text), wbcache.differ("any"),
	wbcache.sidebar_priority(bigint, timestamptz, integer, timestamptz), wbcache.sidebar_state(),
	wbcache.sidebar_fallback(), wbcache.refresh_sidebar_data(), wbcache.load_sidebar(text[]),
	wbcache.get_sidebar(text, text),
	wbcache.calculate_priority(text, text, timestamptz, text), wbcache.get_upcoming_fixtures(double precision),
	wbcache.top_categories(json, integer)
	TO PUBLIC;
GRANT USAGE ON TYPE
	wbcache.cache_status, wbcache.invalidation_reason,
	wbcache.health_level, wbcache.health_code, wbcache.health_reason, wbcache.health_facts
	TO PUBLIC;
