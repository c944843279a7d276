-- Reading: get, lookup and get_many, in the places SQL allows. The echo endpoint of the test upstream answers with n,
-- the number of this request among those to its path: an n that stays is a value that came from the cache.
SELECT wbcache.create_endpoint('read', 'read:{id}', 'test_upstream', '/echo/read/{id}', soft_ttl => '1 h');

-- A miss asks the upstream, a hit does not.
SELECT wbcache.get('read:1') ->> 'n' AS n;
SELECT wbcache.get('read:1') ->> 'n' AS n;
SELECT test.requests('/echo/read/1');

-- The answer is the upstream's, whole.
SELECT value ->> 'target' AS target, value -> 'segments' AS segments, pg_typeof(value)
  FROM (SELECT wbcache.get('read:1') AS value) s;

-- lookup says how it came about.
SELECT value ->> 'n' AS n, status, age >= '0' AND age < '1 min' AS age, ttl > '59 min' AND ttl <= '1 h' AS ttl,
       regexp_replace(detail, '[0-9.]+', 'N') AS detail
  FROM wbcache.lookup('read:2');
SELECT value ->> 'n' AS n, status, age > '0' AND age < '1 min' AS age, ttl > '59 min' AND ttl < '1 h' AS ttl, detail
  FROM wbcache.lookup('read:2');

-- A stale value is served while it is refreshed; the refreshed one is fresh.
SELECT wbcache.set('read:stale', '"set"', soft_ttl => '1 microsecond');
SELECT test.hold('/echo/read/stale');
SELECT value, status, age > '0' AS age, ttl < '0' AS ttl, detail FROM wbcache.lookup('read:stale');
SELECT value, status, detail LIKE '%a refresh is under way%' AS detail FROM wbcache.lookup('read:stale');
SELECT test.wait_until($$ test.requests('/echo/read/stale') = 1 $$);
SELECT wbcache.get('read:stale');
SELECT test.release();
SELECT test.wait_until($$ (SELECT status = 'hit' FROM wbcache.lookup('read:stale')) $$);
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:stale');
SELECT test.requests('/echo/read/stale');

-- After its hard TTL a value is not served.
SELECT wbcache.set('read:expired', '"set"', soft_ttl => '1 microsecond', hard_ttl => '1 microsecond');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:expired');

-- NULL in, NULL out.
SELECT wbcache.get(NULL) IS NULL AS get, num_nulls(value, status, age, ttl, detail) AS lookup FROM wbcache.lookup(NULL);
SELECT count(*) FROM wbcache.get_many(NULL);

-- Without an upstream and without a value there is nothing.
SELECT wbcache.create_endpoint('read_set', 'read_set:{id}');
SELECT wbcache.get('read_set:1') IS NULL AS get;
SELECT * FROM wbcache.lookup('read_set:1');

-- A failure is an error with the upstream's name, and remembered for error_ttl: the upstream isn't asked again.
SELECT wbcache.create_endpoint('read_fails', 'read_fails:{id}', 'test_upstream', '/nowhere/{id}', error_ttl => '1 h');
SELECT wbcache.get('read_fails:1');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM wbcache.lookup('read_fails:1');
\echo :LAST_ERROR_SQLSTATE
SELECT test.requests('/nowhere/1');

-- With an error_ttl of zero it is asked each time.
SELECT wbcache.alter_endpoint('read_fails', error_ttl => '0');
SELECT wbcache.get('read_fails:2');
SELECT wbcache.get('read_fails:2');
SELECT test.requests('/nowhere/2');
SELECT wbcache.alter_endpoint('read_fails', error_ttl => '1 h');

-- Who waits longer than wbcache.max_wait leaves; the fetch goes on.
SELECT test.hold('/echo/read/slow');
SET wbcache.max_wait = '20ms';
\set VERBOSITY terse
SELECT wbcache.get('read:slow');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
RESET wbcache.max_wait;
SELECT test.release();
SELECT value ->> 'n' AS n FROM wbcache.lookup('read:slow');

-- get_many: a row for each element, in their order; twice what is there twice, NULLs for NULL.
SELECT key, value ->> 'n' AS n, value ->> 'path' AS path, error
  FROM wbcache.get_many(ARRAY['read:12', 'read:1', NULL, 'read:11', 'read:12', 'read_set:1', 'read:1']);
SELECT test.requests('/echo/read/12');

-- One that fails does no harm to the others.
SELECT key, value ->> 'path' AS path, error FROM wbcache.get_many('{read:21, read_fails:1, read:22, read_fails:3}');

-- None at all; one NULL; rows of an array of arrays.
SELECT * FROM wbcache.get_many('{}');
SELECT * FROM wbcache.get_many('{NULL}');
SELECT key, value ->> 'path' AS path FROM wbcache.get_many('{{read:1, read:2}, {read:11, read:12}}');

-- A key that can't be one is an error for all.
SELECT * FROM wbcache.get_many('{read:1, ""}');
SELECT * FROM wbcache.get_many('{read:1, read:a:b}');

-- More than one group of them, all at once.
SELECT count(*), count(value), count(error), bool_and(value ->> 'path' = '/api/v3/echo/' || replace(key, ':', '/')) AS right
  FROM wbcache.get_many((SELECT array_agg('read:many' || i) FROM generate_series(1, 100) i));
SELECT count(*), count(value), count(error), bool_and(value ->> 'n' = '1') AS from_cache
  FROM wbcache.get_many((SELECT array_agg('read:many' || i) FROM generate_series(1, 100) i));

-- In a READ ONLY transaction, hit and miss.
BEGIN READ ONLY;
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:1');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:31');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:31');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:31');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:32');
ROLLBACK;

-- What a transaction fetched stays when it is rolled back: others may have it already.
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('read:32');

-- A transaction that failed reads nothing; the next one does.
BEGIN;
SELECT 1 / 0;
SELECT wbcache.get('read:1');
ROLLBACK;
SELECT wbcache.get('read:1') ->> 'n' AS n;

-- In plpgsql: in expressions, in loops, with its errors caught.
CREATE FUNCTION read_in_plpgsql() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text := '';
  key text;
BEGIN
  FOREACH key IN ARRAY '{read:1, read_fails:1, read:41, no:endpoint, read:41}'::text[] LOOP
    BEGIN
      answer := answer || key || ' ' || (wbcache.get(key) ->> 'n') || E'\n';
    EXCEPTION
      WHEN SQLSTATE 'WB001' THEN answer := answer || key || ' upstream failed' || E'\n';
      WHEN undefined_object THEN answer := answer || key || ' no endpoint' || E'\n';
    END;
  END LOOP;
  RETURN answer;
END $$;
SELECT read_in_plpgsql();
DROP FUNCTION read_in_plpgsql();

-- In prepared statements, with custom and generic plans; the endpoint may change between two executions.
PREPARE read(text) AS SELECT value ->> 'n' AS n, value ->> 'path' AS path, status FROM wbcache.lookup($1);
SET plan_cache_mode = force_generic_plan;
EXECUTE read('read:51');
EXECUTE read('read:51');
SELECT wbcache.alter_endpoint('read', path => '/echo/moved/{id}');
EXECUTE read('read:51');
SET plan_cache_mode = force_custom_plan;
EXECUTE read('read:51');
RESET plan_cache_mode;
DEALLOCATE read;

-- Over many rows: one fetch for each key.
SELECT status, count(*), count(value)
  FROM generate_series(1, 1000) i, LATERAL wbcache.lookup('read:row' || i % 5) GROUP BY status ORDER BY status;
SELECT count(*), count(DISTINCT value ->> 'path') AS paths, max((value ->> 'n')::int) AS n
  FROM (SELECT wbcache.get('read:row' || i % 5) AS value FROM generate_series(1, 1000) i) s;
CREATE TEMP TABLE read_keys AS SELECT 'read:row' || i AS key FROM generate_series(0, 4) i;
SELECT key, (SELECT wbcache.get(key) ->> 'path') AS path FROM read_keys WHERE wbcache.get(key) IS NOT NULL ORDER BY key;

-- In a cursor; it may outlive the transaction.
BEGIN;
DECLARE read_cursor CURSOR WITH HOLD FOR SELECT key, wbcache.get(key) ->> 'n' AS n FROM read_keys ORDER BY key;
FETCH 1 FROM read_cursor;
COMMIT;
FETCH ALL FROM read_cursor;
CLOSE read_cursor;

SELECT wbcache.drop_endpoint(name) FROM unnest('{read, read_set, read_fails}'::name[]) name;
