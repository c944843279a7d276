-- SQL loaders: endpoints with a loader, and get_with_swr. A sequence counts the calls, because it also counts those that fail.
CREATE SCHEMA loader_test;
CREATE ROLE regress_loader_owner;
CREATE ROLE regress_loader_reader;
CREATE ROLE regress_loader_other;
GRANT USAGE, CREATE ON SCHEMA loader_test TO regress_loader_owner;
GRANT USAGE ON SCHEMA loader_test TO regress_loader_reader, regress_loader_other;
GRANT USAGE ON SCHEMA test TO regress_loader_owner, regress_loader_reader, regress_loader_other;
GRANT EXECUTE ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint, wbcache.drop_endpoint TO regress_loader_owner;

GRANT EXECUTE ON FUNCTION wbcache.get_with_swr, wbcache.invalidate_own
  TO regress_loader_owner, regress_loader_reader, regress_loader_other;

CREATE SEQUENCE loader_test.calls;
GRANT USAGE, SELECT ON SEQUENCE loader_test.calls TO regress_loader_owner, regress_loader_reader, regress_loader_other;
CREATE TABLE loader_test.source (id text PRIMARY KEY, value text);
ALTER TABLE loader_test.source OWNER TO regress_loader_owner;
INSERT INTO loader_test.source VALUES ('1', 'one'), ('2', 'two'), ('3', 'three');
CREATE FUNCTION loader_test.calls() RETURNS bigint LANGUAGE sql
  AS $$ SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM loader_test.calls $$;

SET ROLE regress_loader_owner;
CREATE FUNCTION loader_test.load(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  n bigint := nextval('loader_test.calls');
BEGIN
  RETURN json_build_object('n', n, 'parts', parts, 'value', (SELECT value FROM loader_test.source WHERE id = parts[cardinality(parts)]));
END $$;

-- An endpoint with a loader: a miss calls it, a hit does not. It gets all segments of the key.
SELECT wbcache.create_endpoint('loader', 'loader:{id}', loader => 'loader_test.load(text[])', soft_ttl => '1 h',
                               tags => ARRAY['loader_tag:{id}'], readers => '{regress_loader_reader}');
SELECT value, status, regexp_replace(detail, '[0-9.]+', 'N') AS detail FROM wbcache.lookup('loader:1');
SELECT value, status, detail FROM wbcache.lookup('loader:1');
SELECT loader_test.calls();
SELECT wbcache.create_endpoint('loader_parts', 'loader:{a}:fixed:{b}:{c}', loader => 'loader_test.load(text[])');
SELECT wbcache.get('loader:x:fixed:Zürich "":{}') -> 'parts' AS parts;
SELECT value -> 'value' AS value, error FROM wbcache.get_many('{loader:1,loader:2,loader:none}');

-- A reader gets the value, and needs no right of his own on what the loader uses.
SET ROLE regress_loader_reader;
SELECT wbcache.get('loader:3') ->> 'value' AS value;
SELECT * FROM loader_test.source;
SET ROLE regress_loader_other;
SELECT wbcache.get('loader:3');

-- Another value comes with an invalidation of the key, of a tag, or of everything.
SET ROLE regress_loader_owner;
SELECT wbcache.get('loader:1') ->> 'value' AS value;
UPDATE loader_test.source SET value = value || '!';
SELECT wbcache.get('loader:1') ->> 'value' AS value;
SELECT wbcache.invalidate('loader:1');
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:1');
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:3');
RESET ROLE;
SELECT wbcache.invalidate_tag('loader_tag:3');
SET ROLE regress_loader_owner;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:3');

-- Replaced by another body, the same endpoint gives what that returns, from the next load on.
CREATE OR REPLACE FUNCTION loader_test.load_replaced(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT '"first"'::json $$;
SELECT wbcache.create_endpoint('loader_replaced', 'loader_replaced:{id}', loader => 'loader_test.load_replaced(text[])', soft_ttl => '1 h');
SELECT wbcache.get('loader_replaced:1');
CREATE OR REPLACE FUNCTION loader_test.load_replaced(parts text[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RETURN '"second"'; END $$;
SELECT wbcache.get('loader_replaced:1'), wbcache.get('loader_replaced:2');
SELECT wbcache.alter_endpoint('loader_replaced', loader => 'loader_test.load(text[])');
SELECT wbcache.get('loader_replaced:1') -> 'parts' AS parts;

-- Dropped, and made again. What is cached stays.
DROP FUNCTION loader_test.load_replaced;
SELECT wbcache.create_endpoint('loader_dropped', 'loader_dropped:{id}', loader => 'loader_test.load_dropped(text[])', soft_ttl => '1 h', error_ttl => '0');
CREATE FUNCTION loader_test.load_dropped(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT '"made"'::json $$;
SELECT wbcache.create_endpoint('loader_dropped', 'loader_dropped:{id}', loader => 'loader_test.load_dropped(text[])', soft_ttl => '1 h', error_ttl => '0');
SELECT wbcache.get('loader_dropped:1');
DROP FUNCTION loader_test.load_dropped;
SELECT wbcache.get('loader_dropped:1');
SELECT wbcache.get('loader_dropped:2');
\echo :LAST_ERROR_SQLSTATE
CREATE FUNCTION loader_test.load_dropped(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT '"made again"'::json $$;
SELECT wbcache.get('loader_dropped:2');
-- The same name, another signature.
DROP FUNCTION loader_test.load_dropped;
CREATE FUNCTION loader_test.load_dropped(parts text[]) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"of another type"'::jsonb $$;
SELECT wbcache.get('loader_dropped:3');

-- What can't be a loader.
CREATE FUNCTION loader_test.takes_text(part text) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json $$;
CREATE FUNCTION loader_test.takes_two(parts text[], more int DEFAULT 1) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json $$;
CREATE FUNCTION loader_test.returns_text(parts text[]) RETURNS text LANGUAGE sql AS $$ SELECT '1' $$;
CREATE FUNCTION loader_test.returns_set(parts text[]) RETURNS SETOF json LANGUAGE sql AS $$ SELECT '1'::json $$;
CREATE PROCEDURE loader_test.is_procedure(parts text[]) LANGUAGE sql AS $$ SELECT 1 $$;
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.takes_text(text)');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.takes_two(text[], int)');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.returns_text(text[])');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.returns_set(text[])');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.is_procedure(text[])');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.load');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'nosuchschema.load(text[])');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'not a function');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', server => 'test_upstream', path => '/x/{id}', loader => 'loader_test.load(text[])');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.load(text[])', statement_timeout => '0');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.load(text[])', statement_timeout => '2 h');
SELECT wbcache.create_endpoint('loader_bad', 'loader_bad:{id}', loader => 'loader_test.load(text[])', lock_timeout => '-1 s');

-- EXECUTE is the owner's to have, when the endpoint is made and later.
RESET ROLE;
CREATE FUNCTION loader_test.load_granted(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT '"granted"'::json $$;
REVOKE EXECUTE ON FUNCTION loader_test.load_granted FROM PUBLIC;
SET ROLE regress_loader_owner;
SELECT wbcache.create_endpoint('loader_granted', 'loader_granted:{id}', loader => 'loader_test.load_granted(text[])', error_ttl => '0');
RESET ROLE;
GRANT EXECUTE ON FUNCTION loader_test.load_granted TO regress_loader_owner;
SET ROLE regress_loader_owner;
SELECT wbcache.create_endpoint('loader_granted', 'loader_granted:{id}', loader => 'loader_test.load_granted(text[])', error_ttl => '0');
SELECT wbcache.get('loader_granted:1');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION loader_test.load_granted FROM regress_loader_owner;
SELECT wbcache.get('loader_granted:2');
\echo :LAST_ERROR_SQLSTATE

-- NULL is an error, except where the endpoint takes it for JSON null.
SET ROLE regress_loader_owner;
CREATE FUNCTION loader_test.load_null(parts text[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('loader_test.calls'); RETURN NULL; END $$;
SELECT wbcache.create_endpoint('loader_null', 'loader_null:{id}', loader => 'loader_test.load_null(text[])', soft_ttl => '1 h', error_ttl => '0');
SELECT wbcache.get('loader_null:1');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.alter_endpoint('loader_null', null_is_value => true);
SELECT value, value IS NULL AS is_null, status FROM wbcache.lookup('loader_null:1');
SELECT value, value IS NULL AS is_null, status FROM wbcache.lookup('loader_null:1');
SELECT wbcache.alter_endpoint('loader_null', null_is_value => false);
SELECT wbcache.get('loader_null:1');

-- The bytes are the loader's, white space included.
CREATE FUNCTION loader_test.load_bytes(parts text[]) RETURNS json LANGUAGE sql
  AS $$ SELECT E' {"b" : [1,\n\t2.50],  "a":"\\u00e9 é",\n"b":null } '::json $$;
SELECT wbcache.create_endpoint('loader_bytes', 'loader_bytes:{id}', loader => 'loader_test.load_bytes(text[])');
SELECT wbcache.get('loader_bytes:1')::text = loader_test.load_bytes('{}')::text AS miss;
SELECT wbcache.get('loader_bytes:1')::text = loader_test.load_bytes('{}')::text AS hit;

-- 5 MB are cached, more than max_value_size are refused.
CREATE FUNCTION loader_test.load_large(parts text[]) RETURNS json LANGUAGE sql
  AS $$ SELECT ('"' || repeat(parts[2], parts[3]::int) || '"')::json $$;
SELECT wbcache.create_endpoint('loader_large', 'loader_large:{char}:{n}', loader => 'loader_test.load_large(text[])', soft_ttl => '1 h');
SELECT md5(value::text) = md5('"' || repeat('x', 5000000) || '"') AS good, status FROM wbcache.lookup('loader_large:x:5000000');
SELECT md5(value::text) = md5('"' || repeat('x', 5000000) || '"') AS good, status FROM wbcache.lookup('loader_large:x:5000000');
SELECT wbcache.get('loader_large:x:9000000');
\echo :LAST_ERROR_SQLSTATE

-- Errors reach the reader with SQLSTATE, message, detail and hint, and are remembered for error_ttl.
CREATE FUNCTION loader_test.load_failing(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('loader_test.calls');
  IF EXISTS (SELECT FROM loader_test.source WHERE id = 'works') THEN
    RETURN '"works"';
  END IF;
  RAISE EXCEPTION 'no data for %', parts[2] USING ERRCODE = 'XX123', DETAIL = 'The detail.', HINT = 'The hint.';
END $$;
SELECT wbcache.create_endpoint('loader_failing', 'loader_failing:{id}', loader => 'loader_test.load_failing(text[])', soft_ttl => '1 h', error_ttl => '1 h');
SELECT wbcache.get('loader_failing:1');
\echo :LAST_ERROR_SQLSTATE
SELECT loader_test.calls() AS before \gset
SELECT wbcache.get('loader_failing:1');
SELECT value ->> 'value' AS value, error FROM wbcache.get_many('{loader_failing:1,loader:2}');
SELECT loader_test.calls() - :before AS calls;
CREATE FUNCTION loader_test.load_dividing(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT to_json(1 / parts[2]::int) $$;
SELECT wbcache.create_endpoint('loader_dividing', 'loader_dividing:{id}', loader => 'loader_test.load_dividing(text[])', error_ttl => '0');
SELECT wbcache.get('loader_dividing:0');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get('loader_dividing:x');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get('loader_dividing:1');

-- Also those that would say something else of a key without a loader.
CREATE FUNCTION loader_test.load_lost(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'lost' USING ERRCODE = 'WB006';
END $$;
SELECT wbcache.create_endpoint('loader_lost', 'loader_lost:{id}', loader => 'loader_test.load_lost(text[])', error_ttl => '0');
SELECT wbcache.get('loader_lost:1');
SELECT wbcache.get_with_swr('private:lost', 'loader_test.load_lost(text[])', '1 h', '2 h');
\echo :LAST_ERROR_SQLSTATE

-- While it fails, what is stale stays.
SELECT wbcache.alter_endpoint('loader_failing', error_ttl => '1 ms', soft_ttl => '1 ms', hard_ttl => '1 h');
INSERT INTO loader_test.source VALUES ('works');
SELECT wbcache.get('loader_failing:1');
DELETE FROM loader_test.source WHERE id = 'works';
RESET ROLE;
SELECT refresh_failures AS before FROM wbcache.stat_endpoint WHERE endpoint = 'loader_failing' \gset
SELECT test.wait_until($$ (SELECT status = 'stale' FROM wbcache.lookup('loader_failing:1')) $$);
SELECT test.wait_until($$ (SELECT refresh_failures > $$ || :before || $$ FROM wbcache.stat_endpoint WHERE endpoint = 'loader_failing') $$);
SELECT value, status FROM wbcache.lookup('loader_failing:1');

-- statement_timeout and lock_timeout are the endpoint's.
SET ROLE regress_loader_owner;
CREATE FUNCTION loader_test.load_endless(parts text[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN LOOP NULL; END LOOP; END $$;
SELECT wbcache.create_endpoint('loader_endless', 'loader_endless:{id}', loader => 'loader_test.load_endless(text[])', statement_timeout => '100 ms', error_ttl => '0');
SELECT wbcache.get('loader_endless:1');
\echo :LAST_ERROR_SQLSTATE
CREATE FUNCTION loader_test.load_locking(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE loader_test.source IN SHARE MODE;
  RETURN '"locked"';
END $$;
SELECT wbcache.create_endpoint('loader_locking', 'loader_locking:{id}', loader => 'loader_test.load_locking(text[])', lock_timeout => '100 ms', error_ttl => '0');
BEGIN;
LOCK TABLE loader_test.source IN ROW EXCLUSIVE MODE;
SELECT wbcache.get('loader_locking:1');
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get('loader_locking:1');

-- It runs as the endpoint's owner, in a security-restricted context.
CREATE FUNCTION loader_test.load_context(parts text[]) RETURNS json LANGUAGE sql
  AS $$ SELECT json_build_object('user', current_user, 'path', current_setting('search_path'), 'timeout', current_setting('lock_timeout')) $$;
SELECT wbcache.create_endpoint('loader_context', 'loader_context:{id}', loader => 'loader_test.load_context(text[])', readers => '{regress_loader_reader}');
SET ROLE regress_loader_reader;
SET search_path = loader_test;
SELECT wbcache.get('loader_context:1');
RESET search_path;
SET ROLE regress_loader_owner;
CREATE FUNCTION loader_test.load_trying(parts text[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN EXECUTE parts[2]; RETURN json_build_object('user', current_user); END $$;
SELECT wbcache.create_endpoint('loader_trying', 'loader_trying:{what}', loader => 'loader_test.load_trying(text[])', error_ttl => '0');
SELECT wbcache.get('loader_trying:SET ROLE regress_loader_other');
SELECT wbcache.get('loader_trying:RESET ROLE');
SELECT wbcache.get('loader_trying:SET ROLE none');
SELECT wbcache.get('loader_trying:SET SESSION AUTHORIZATION postgres');
SELECT wbcache.get('loader_trying:RESET SESSION AUTHORIZATION');
SELECT wbcache.get('loader_trying:CREATE TEMP TABLE t ()');
SELECT wbcache.get('loader_trying:DECLARE c CURSOR WITH HOLD FOR SELECT 1');
SELECT wbcache.get('loader_trying:LISTEN somewhere');
SELECT wbcache.get('loader_trying:COMMIT');
SELECT wbcache.get('loader_trying:SELECT wbcache.clear()');
SELECT wbcache.get('loader_trying:SELECT * FROM wbcache.entry');
SELECT wbcache.get('loader_trying:SELECT pg_read_file($$postgresql.conf$$)');

-- A setting or lock that it leaves behind is gone when it has ended: the next load finds none, in either process.
SELECT wbcache.get('loader_trying:SET search_path = public');
SELECT wbcache.get('loader_trying:SET statement_timeout = 1');
SELECT wbcache.get('loader_trying:SELECT pg_advisory_lock(303)');
SELECT wbcache.get('loader_trying:PREPARE left_behind AS SELECT 1');
SELECT wbcache.invalidate('loader_context:1');
SELECT wbcache.get('loader_context:1');
SELECT pg_try_advisory_lock(303), pg_advisory_unlock(303);

-- At commit nothing runs with other rights: a deferred trigger, which would run as the loader process, is refused.
CREATE TABLE loader_test.deferred (a int);
CREATE TABLE loader_test.deferred_log (who name);
CREATE FUNCTION loader_test.log_user() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO loader_test.deferred_log VALUES (current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON loader_test.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION loader_test.log_user();
SELECT wbcache.get('loader_trying:INSERT INTO loader_test.deferred VALUES (1)');
SELECT * FROM loader_test.deferred_log;

-- A SECURITY DEFINER function does what its own owner may, and a write is what the endpoint's owner may.
RESET ROLE;
CREATE FUNCTION loader_test.definer(parts text[]) RETURNS json LANGUAGE plpgsql SECURITY DEFINER
  AS $$ BEGIN RETURN json_build_object('user', current_user); END $$;
SET ROLE regress_loader_owner;
SELECT wbcache.create_endpoint('loader_definer', 'loader_definer:{id}', loader => 'loader_test.definer(text[])');
SELECT wbcache.get('loader_definer:1') ->> 'user' = 'postgres' AS as_its_owner;
SELECT wbcache.get('loader_trying:INSERT INTO loader_test.source VALUES ($$written$$)');
SELECT count(*) FROM loader_test.source WHERE id = 'written';
SELECT wbcache.get('loader_trying:DELETE FROM wbcache.endpoint');

-- What a loader writes and invalidates itself makes its own value outdated: it is returned, and not cached.
CREATE FUNCTION loader_test.load_counting(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('loader_test.calls');
  PERFORM wbcache.invalidate('loader_counting:' || parts[2]);
  RETURN '"made"';
END $$;
SELECT wbcache.create_endpoint('loader_counting', 'loader_counting:{id}', loader => 'loader_test.load_counting(text[])', soft_ttl => '1 h');
SELECT loader_test.calls() AS before \gset
SELECT value, status FROM wbcache.lookup('loader_counting:1');
SELECT value, status FROM wbcache.lookup('loader_counting:1');
SELECT loader_test.calls() - :before AS calls;

-- A loader may read other keys; one that reads its own waits in vain, and gets an error.
CREATE FUNCTION loader_test.load_nested(parts text[]) RETURNS json LANGUAGE plpgsql SET wbcache.max_wait = '200ms'
  AS $$ BEGIN RETURN json_build_array(wbcache.get(parts[2] || ':1')); END $$;
SELECT wbcache.create_endpoint('loader_nested', 'loader_nested:{id}:{x}', loader => 'loader_test.load_nested(text[])', error_ttl => '0');
SELECT wbcache.get('loader_nested:loader_bytes:1') ->> 0 IS NOT NULL AS nested;
SELECT wbcache.create_endpoint('loader_self', 'loader_self:{x}', loader => 'loader_test.load_self(text[])', error_ttl => '0');
CREATE FUNCTION loader_test.load_self(parts text[]) RETURNS json LANGUAGE plpgsql SET wbcache.max_wait = '200ms'
  AS $$ BEGIN RETURN wbcache.get('loader_self:' || parts[2]); END $$;
SELECT wbcache.create_endpoint('loader_self', 'loader_self:{x}', loader => 'loader_test.load_self(text[])', error_ttl => '0');
\set VERBOSITY terse
SELECT wbcache.get('loader_self:1');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE

-- The transaction that has itself invalidated a key: its loader runs in it and sees its changes, and nothing is stored.
SELECT wbcache.get('loader:1') ->> 'value' AS value;
BEGIN;
UPDATE loader_test.source SET value = 'own' WHERE id = '1';
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:1');
SELECT wbcache.invalidate('loader:1');
SELECT value ->> 'value' AS value, status, detail FROM wbcache.lookup('loader:1');
SELECT value ->> 'value' AS value FROM wbcache.get_many('{loader:1,loader:2}');
UPDATE loader_test.source SET value = 'own, later' WHERE id = '1';
SELECT wbcache.get('loader:1') ->> 'value' AS value;
ROLLBACK;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:1');
BEGIN;
UPDATE loader_test.source SET value = 'own' WHERE id = '1';
SELECT wbcache.invalidate('loader:1');
SELECT wbcache.get('loader:1') ->> 'value' AS value;
COMMIT;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:1');
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:1');

-- There too it runs as the owner, and gives the user and the settings back, after an error as well.
SET ROLE regress_loader_reader;
BEGIN;
SET LOCAL search_path = loader_test;
SET LOCAL lock_timeout = '7s';
RESET ROLE;
SELECT wbcache.invalidate('loader_context:1');
SET LOCAL ROLE regress_loader_reader;
SELECT wbcache.get('loader_context:1');
SELECT current_user, current_setting('search_path') AS path, current_setting('lock_timeout') AS timeout;
ROLLBACK;
RESET ROLE;
BEGIN;
SET LOCAL search_path = loader_test;
SELECT wbcache.invalidate('loader_dividing:0');
SAVEPOINT a;
SELECT wbcache.get('loader_dividing:0');
ROLLBACK TO a;
SELECT current_user = session_user AS same_user, current_setting('search_path') AS path;
SELECT wbcache.get('loader:2') ->> 'value' AS value;
COMMIT;

-- Rolled back to before the invalidation, the cache is believed again.
SET ROLE regress_loader_owner;
BEGIN;
SAVEPOINT a;
UPDATE loader_test.source SET value = 'in a savepoint' WHERE id = '2';
SELECT wbcache.invalidate('loader:2');
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:2');
ROLLBACK TO a;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:2');
SAVEPOINT b;
UPDATE loader_test.source SET value = 'released' WHERE id = '2';
SELECT wbcache.invalidate('loader:2');
RELEASE b;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:2');
COMMIT;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:2');

-- A value set by the transaction comes before the loader.
BEGIN;
SELECT wbcache.set('loader:2', '{"value": "set"}');
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:2');
SELECT wbcache.invalidate('loader:2');
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader:2');
ROLLBACK;

-- What is not committed is not cached: the loader process sees the old row.
BEGIN;
UPDATE loader_test.source SET value = 'uncommitted' WHERE id = '3';
SELECT wbcache.get('loader_replaced:3') ->> 'value' AS value;
COMMIT;
SELECT value ->> 'value' AS value, status FROM wbcache.lookup('loader_replaced:3');

-- In a read-only transaction.
BEGIN READ ONLY;
SELECT wbcache.get('loader:x:fixed:y:z') -> 'parts' AS parts;
ROLLBACK;
BEGIN READ ONLY;
SELECT wbcache.get('loader:readonly') -> 'parts' AS parts;
ROLLBACK;

-- A new owner's rights count from then on.
RESET ROLE;
SELECT wbcache.alter_endpoint('loader_context', owner => 'regress_loader_other');
SELECT wbcache.get('loader_context:1') ->> 'user' AS "user";
SELECT wbcache.alter_endpoint('loader_trying', owner => 'regress_loader_other', readers => '{postgres}');
SELECT wbcache.get('loader_trying:DELETE FROM loader_test.source');
-- An owner that is dropped.
CREATE ROLE regress_loader_gone;
SELECT wbcache.alter_endpoint('loader_context', owner => 'regress_loader_gone', error_ttl => '0');
DROP ROLE regress_loader_gone;
SELECT wbcache.get('loader_context:2');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.alter_endpoint('loader_context', owner => 'regress_loader_owner');
SELECT wbcache.get('loader_context:2') ->> 'user' AS "user";

-- The endpoint's source may change: loader to server, server to loader, to none.
SELECT wbcache.alter_endpoint('loader_null', server => 'test_upstream', path => '/echo/loader/{id}');
GRANT USAGE ON FOREIGN SERVER test_upstream TO regress_loader_owner;
SELECT wbcache.alter_endpoint('loader_null', server => 'test_upstream', path => '/echo/loader/{id}', loader => '');
SELECT wbcache.get('loader_null:5') ->> 'n' AS n;
SELECT wbcache.alter_endpoint('loader_null', server => '', loader => 'loader_test.load(text[])');
SELECT wbcache.get('loader_null:5') -> 'parts' AS parts;
SELECT wbcache.alter_endpoint('loader_null', loader => '');
SELECT wbcache.get('loader_null:5') IS NULL AS nothing;

-- get_with_swr: for the calling role, as that role, and by that loader alone.
GRANT EXECUTE ON FUNCTION loader_test.load_context TO PUBLIC;
SET ROLE regress_loader_reader;
SELECT wbcache.get_with_swr('private:1', 'loader_test.load_context(text[])', '1 h', '2 h');
SET ROLE regress_loader_other;
SELECT wbcache.get_with_swr('private:1', 'loader_test.load_context(text[])', '1 h', '2 h') ->> 'user' AS "user";
SET ROLE regress_loader_reader;
SELECT loader_test.calls() AS before \gset
SELECT wbcache.get_with_swr('private:a:b', 'loader_test.load(text[])', '1 h', '2 h');
SET ROLE regress_loader_owner;
SELECT wbcache.get_with_swr('private:a:b', 'loader_test.load(text[])', '1 h', '2 h') -> 'parts' AS parts;
SELECT wbcache.get_with_swr('private:a:b', 'loader_test.load(text[])', '1 h', '2 h') -> 'parts' AS parts;
SELECT wbcache.get_with_swr('private:a:b', 'loader_test.load_bytes(text[])', '1 h', '2 h') ->> 'a' AS other_loader;
SELECT wbcache.get_with_swr('private', 'loader_test.load(text[])', '1 h', '2 h') -> 'parts' AS one_part;
SELECT loader_test.calls() - :before AS calls;
-- What it refuses.
SELECT wbcache.get_with_swr('loader:1', 'loader_test.load(text[])', '1 h', '2 h');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get_with_swr('private:1', 'loader_test.takes_text(text)', '1 h', '2 h');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get_with_swr('private:1', 'loader_test.load_granted(text[])', '1 h', '2 h');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get_with_swr('private:1', 'loader_test.load_null(text[])', '1 h', '2 h');
SELECT wbcache.get_with_swr('private:1', 'loader_test.load_failing(text[])', '1 h', '2 h');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get_with_swr('private:1', 'loader_test.load(text[])', '2 h', '1 h');
SELECT wbcache.get_with_swr('private:1', 'loader_test.load(text[])', '0', '1 h');
SELECT wbcache.get_with_swr('', 'loader_test.load(text[])', '1 h', '1 h');
SELECT wbcache.get_with_swr(NULL, 'loader_test.load(text[])', '1 h', '1 h') IS NULL AS null_key;
SELECT wbcache.get_with_swr('private:1', NULL, '1 h', '1 h') IS NULL AS null_loader;
SELECT wbcache.get_with_swr('private:1', 0, '1 h', '1 h');
SELECT wbcache.get_with_swr('private:1', 4000000000, '1 h', '1 h');

-- Without EXECUTE there is no load. What the role has had made before stays with it.
SELECT wbcache.get_with_swr('private:revoked', 'loader_test.load_bytes(text[])', '1 h', '2 h') IS NOT NULL AS granted;
REVOKE EXECUTE ON FUNCTION loader_test.load_bytes FROM PUBLIC, regress_loader_owner;
SELECT wbcache.get_with_swr('private:revoked', 'loader_test.load_bytes(text[])', '1 h', '2 h') IS NOT NULL AS made_before;
SELECT wbcache.get_with_swr('private:revoked2', 'loader_test.load_bytes(text[])', '1 h', '2 h');
GRANT EXECUTE ON FUNCTION loader_test.load_bytes TO regress_loader_owner;

-- Stale is served, and refreshed behind by the same loader.
SELECT loader_test.calls() AS before \gset
SELECT wbcache.get_with_swr('private:stale', 'loader_test.load(text[])', '1 ms', '1 h') ->> 'value' AS value;
RESET ROLE;
SELECT test.wait_until(format($$ (wbcache.get_with_swr('private:of_postgres', 'loader_test.load(text[])', '1 ms', '1 h') ->> 'n')::int >= %s $$, :before + 3));
SELECT test.wait_until($$ (SELECT pending_keys = 0 FROM wbcache.stat_coalescer) $$);

-- invalidate_own: what the calling role has of this key, by every loader.
SET ROLE regress_loader_owner;
SELECT (wbcache.get_with_swr('private:own', 'loader_test.load(text[])', '1 h', '1 h') ->> 'n')::int AS n \gset
SELECT (wbcache.get_with_swr('private:own', 'loader_test.load(text[])', '1 h', '1 h') ->> 'n')::int - :n AS later;
SET ROLE regress_loader_other;
SELECT (wbcache.get_with_swr('private:own', 'loader_test.load_context(text[])', '1 h', '1 h') ->> 'user') AS "user";
SET ROLE regress_loader_owner;
\df wbcache.invalidate_own
SELECT wbcache.invalidate_own('private:own');
SELECT (wbcache.get_with_swr('private:own', 'loader_test.load(text[])', '1 h', '1 h') ->> 'n')::int - :n AS later;
SELECT wbcache.invalidate_own('loader:1');
SELECT wbcache.invalidate_own(NULL);
BEGIN;
UPDATE loader_test.source SET value = 'seen' WHERE id = 'own';
INSERT INTO loader_test.source VALUES ('own', 'seen') ON CONFLICT DO NOTHING;
SELECT wbcache.get_with_swr('own', 'loader_test.load(text[])', '1 h', '1 h') ->> 'value' AS value;
SELECT wbcache.invalidate_own('own');
SELECT wbcache.get_with_swr('own', 'loader_test.load(text[])', '1 h', '1 h') ->> 'value' AS value;
ROLLBACK;
SELECT wbcache.get_with_swr('own', 'loader_test.load(text[])', '1 h', '1 h') ->> 'value' AS value;

-- However many keys of their own a transaction invalidates, nothing else is.
SELECT wbcache.get('loader:1') IS NOT NULL AS cached;
SELECT count(*) FROM (SELECT wbcache.invalidate_own('own' || i) FROM generate_series(1, 120000) i) own;
SELECT status FROM wbcache.lookup('loader:1');

-- A value of a dropped function is not served for another function, nor for an endpoint made later.
RESET ROLE;
SELECT wbcache.get_with_swr('later:1', 'loader_test.load(text[])', '1 h', '1 h') -> 'parts' AS parts;
SELECT wbcache.create_endpoint('loader_later', 'later:{id}', loader => 'loader_test.load_bytes(text[])');
SELECT wbcache.get('later:1') ->> 'a' AS a;
SELECT wbcache.get_with_swr('later:1', 'loader_test.load(text[])', '1 h', '1 h');

SELECT wbcache.drop_endpoint(name) FROM wbcache.endpoint WHERE name LIKE 'loader%' ORDER BY name;
SELECT wbcache.get('loader:1');
\set VERBOSITY terse
DROP SCHEMA loader_test CASCADE;
REVOKE ALL ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint, wbcache.drop_endpoint FROM regress_loader_owner;
REVOKE ALL ON FUNCTION wbcache.get_with_swr, wbcache.invalidate_own
  FROM regress_loader_owner, regress_loader_reader, regress_loader_other;
REVOKE ALL ON FOREIGN SERVER test_upstream FROM regress_loader_owner;
REVOKE ALL ON SCHEMA test FROM regress_loader_owner, regress_loader_reader, regress_loader_other;
DROP ROLE regress_loader_owner, regress_loader_reader, regress_loader_other;
