-- What the SQL and isolation tests find in their database besides the extension: a foreign server for the test upstream,
-- and functions to steer it and to wait. Run once a database by check.sh, with psql's variables port and key.

CREATE SERVER test_upstream FOREIGN DATA WRAPPER wbcache_http
  OPTIONS (base_url 'http://127.0.0.1:0/api/v3', timeout '1min', max_connections '16', breaker_failures '1000000');
SELECT format('ALTER SERVER test_upstream OPTIONS (SET base_url %L)',
              'http://127.0.0.1:' || :'port' || '/api/v3') \gexec
SELECT format('CREATE USER MAPPING FOR PUBLIC SERVER test_upstream OPTIONS (header %L)', 'X-Api-Key: ' || :'key') \gexec

-- Time to wait is no concern of these tests.
SELECT format('ALTER DATABASE %I SET wbcache.max_wait = %L', current_database(), '30s') \gexec

CREATE SCHEMA test;

CREATE FUNCTION test.control(command text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  url text := (SELECT regexp_replace(option_value, '/api/v3$', '/control/')
                 FROM pg_foreign_server, pg_options_to_table(srvoptions)
                 WHERE srvname = 'test_upstream' AND option_name = 'base_url');
  answer text;
BEGIN
  CREATE TEMP TABLE control_answer (line text);
  EXECUTE format('COPY control_answer FROM PROGRAM %L WITH (FORMAT csv, DELIMITER %L, QUOTE %L)',
                 format('curl -sS --fail --globoff --noproxy "*" --max-time 10 "%s%s"', url, command), E'\x01', E'\x02');
  SELECT string_agg(line, E'\n') INTO answer FROM control_answer;
  DROP TABLE control_answer;
  RETURN answer;
END $$;
COMMENT ON FUNCTION test.control IS 'what the test upstream''s control interface answers: test.control(''behave?path=*&hang=1'')';

CREATE FUNCTION test.hold(path text) RETURNS void LANGUAGE sql
  AS $$ SELECT test.control('behave?hang=1&path=/api/v3' || path) $$;
COMMENT ON FUNCTION test.hold IS 'keeps answers to this path back until test.release()';

CREATE FUNCTION test.release() RETURNS void LANGUAGE sql
  AS $$ SELECT test.control('clear') $$;

CREATE FUNCTION test.requests(path text) RETURNS bigint LANGUAGE sql
  AS $$ SELECT coalesce(sum((value ->> 'n')::bigint), 0)
          FROM json_each(test.control('counts?path=/api/v3' || path) -> 'paths')
          WHERE key = '/api/v3' || path $$;
COMMENT ON FUNCTION test.requests IS 'how many requests to this path have reached the test upstream';

CREATE FUNCTION test.wait_until(condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  deadline timestamptz := clock_timestamp() + '30 s';
  met boolean;
BEGIN
  LOOP
    PERFORM pg_stat_clear_snapshot();
    EXECUTE 'SELECT ' || condition INTO met;
    EXIT WHEN met;
    IF clock_timestamp() > deadline THEN
      RAISE EXCEPTION 'waited in vain for: %', condition;
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
COMMENT ON FUNCTION test.wait_until IS 'returns when the condition, an SQL expression, is true; an error after 30 s';

CREATE FUNCTION test.braces(template text) RETURNS text LANGUAGE sql IMMUTABLE
  AS $$ SELECT translate(template, '<>', '{}') $$;
COMMENT ON FUNCTION test.braces IS 'for specifications of isolation tests, which can''t contain braces: <id> stands for {id}';

-- isolationtester reports a step as waiting, and goes on, when this function of the core says so. The core knows locks
-- only; here it also counts when a query that says "waits" waits for a flight, or for a synchronous standby.
ALTER FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(integer, integer[]) RENAME TO is_blocked_by_lock;
CREATE FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(integer, integer[]) RETURNS boolean LANGUAGE sql AS $$
  SELECT pg_catalog.is_blocked_by_lock($1, $2) OR EXISTS (
    SELECT FROM pg_catalog.pg_stat_activity
      WHERE pid = $1 AND query LIKE '%/* waits */%' AND (wait_event_type = 'Extension' OR wait_event = 'SyncRep'))
$$;
