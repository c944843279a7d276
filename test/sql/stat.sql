-- Statistics: the columns of the views, and the counters after a known sequence of reads.
\a
SELECT attrelid::regclass AS view, string_agg(format('%s %s', attname, atttypid::regtype), ', ' ORDER BY attnum) AS columns
  FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relname LIKE 'stat\_%' AND relnamespace = 'wbcache'::regnamespace)
    AND attnum > 0 GROUP BY attrelid ORDER BY attrelid::regclass::text COLLATE "C";
\a

\getenv port WBC_UPSTREAM_PORT
\getenv key WBC_UPSTREAM_KEY
SELECT 'http://127.0.0.1:' || :'port' || '/api/v3' AS url, 'X-Api-Key: ' || :'key' AS header \gset
CREATE SERVER stat_upstream FOREIGN DATA WRAPPER wbcache_http
  OPTIONS (base_url :'url', timeout '1min', rate_limit '100/1h', breaker_failures '3', breaker_cooldown '1h');
CREATE USER MAPPING FOR PUBLIC SERVER stat_upstream OPTIONS (header :'header');
SELECT wbcache.create_endpoint('stat', 'stat:{id}', 'stat_upstream', '/echo/stat/{id}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('stat_set', 'stat_set:{id}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('stat_fails', 'stat_fails:{id}', 'stat_upstream', '/nowhere/stat/{id}', error_ttl => '1 h');
SELECT wbcache.create_endpoint('stat_broken', 'stat_broken:{id}', 'stat_upstream', '/echo/stat_broken/{id}', error_ttl => '1 h');

-- Before anything: a row for each endpoint and server, all zero, without a rate that nothing is known of.
SELECT wbcache.stat_reset();
SELECT * FROM wbcache.stat_endpoint WHERE endpoint LIKE 'stat%' ORDER BY endpoint;
SELECT * FROM wbcache.stat_coalescer;
\x
SELECT * FROM wbcache.stat_server WHERE server = 'stat_upstream';
\x

-- One miss, four hits.
SELECT wbcache.get('stat:1') IS NOT NULL AS got;
SELECT count(wbcache.get('stat:1')) FROM generate_series(1, 3);
SELECT status FROM wbcache.lookup('stat:1');
SELECT * FROM wbcache.stat_endpoint WHERE endpoint = 'stat';

-- get_many counts each key; twice the same is a miss and one who joined it.
SELECT test.control('behave?latency=0.3&path=/api/v3/echo/stat/2') IS NOT NULL AS slow;
SELECT count(value) FROM wbcache.get_many('{stat:1, stat:2, stat:3, stat:2, NULL}');
SELECT * FROM wbcache.stat_endpoint WHERE endpoint = 'stat';
SELECT total_requests, coalesced_requests, upstream_calls, hit_rate_percent, avg_wait_time_ms > 0 AS avg_wait_time_ms, waiters,
       max_concurrent_waiters, pending_keys FROM wbcache.stat_coalescer;

-- A stale serve, and the refresh it starts.
SELECT wbcache.set('stat:4', '"set"', soft_ttl => '1 microsecond');
SELECT wbcache.get('stat:4');
SELECT test.wait_until($$ (SELECT refresh_successes = 4 FROM wbcache.stat_endpoint WHERE endpoint = 'stat') $$);
SELECT * FROM wbcache.stat_endpoint WHERE endpoint = 'stat';
SELECT total_requests, coalesced_requests, upstream_calls, hit_rate_percent FROM wbcache.stat_coalescer;

-- A bypass.
BEGIN;
SELECT wbcache.invalidate('stat:1');
SELECT wbcache.get('stat:1') ->> 'n' AS n;
ROLLBACK;
SELECT hits, bypasses, refresh_successes FROM wbcache.stat_endpoint WHERE endpoint = 'stat';

-- A 304 is a success that brings nothing new.
SELECT test.control('behave?frozen=1&path=/api/v3/echo/stat/5') IS NOT NULL AS frozen;
SELECT wbcache.get('stat:5') ->> 'n' AS n;
BEGIN;
SELECT wbcache.invalidate('stat:5');
SELECT wbcache.get('stat:5') ->> 'n' AS n;
ROLLBACK;
SELECT requests, successes, not_modified, failures FROM wbcache.stat_server WHERE server = 'stat_upstream';

-- Failures: an answer that is no value; the same one again, from memory; a flight that failed for two.
SELECT wbcache.get('stat_fails:1');
SELECT wbcache.get('stat_fails:1');
SELECT test.control('behave?latency=0.3&status=404&path=/api/v3/nowhere/stat/2') IS NOT NULL AS slow;
SELECT count(error) FROM wbcache.get_many('{stat_fails:2, stat_fails:2}');
SELECT * FROM wbcache.stat_endpoint WHERE endpoint = 'stat_fails';
SELECT breaker_state, consecutive_failures, requests, successes, not_modified, failures, refused, rate_limited, last_error,
       last_error_at <= now() AS last_error_at FROM wbcache.stat_server WHERE server = 'stat_upstream';

-- Keys that are nobody's, and those one may not read, count nowhere.
SELECT wbcache.get('stat');
SELECT sum(hits + stale + misses + collapsed + bypasses + errors) FROM wbcache.stat_endpoint WHERE endpoint LIKE 'stat%';

-- Without an upstream: a miss without a flight, a hit, a value of one's own.
SELECT wbcache.get('stat_set:1');
SELECT wbcache.set('stat_set:1', '1');
SELECT wbcache.get('stat_set:1');
BEGIN;
SELECT wbcache.set('stat_set:1', '2');
SELECT wbcache.get('stat_set:1');
ROLLBACK;
SELECT * FROM wbcache.stat_endpoint WHERE endpoint = 'stat_set';

-- The rate limit's window, and requests in it.
SELECT rate_limit, rate_used = requests AS rate_used, rate_window_ends > now() AS rate_window_ends, paused_until, running
  FROM wbcache.stat_server WHERE server = 'stat_upstream';

-- Three answers that say the upstream is broken open the breaker; what is refused then is no request.
SELECT test.control('behave?status=500&path=/api/v3/echo/stat_broken/*') IS NOT NULL AS broken;
SELECT wbcache.get('stat_broken:1');
SELECT wbcache.get('stat_broken:2');
SELECT breaker_state, consecutive_failures, next_try FROM wbcache.stat_server WHERE server = 'stat_upstream';
SELECT wbcache.get('stat_broken:3');
SELECT breaker_state, consecutive_failures, next_try BETWEEN now() + '59 min' AND now() + '1 h' AS next_try, failures, refused, last_error
  FROM wbcache.stat_server WHERE server = 'stat_upstream';
\set VERBOSITY terse
SELECT wbcache.get('stat_broken:4');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
SELECT breaker_state, failures, refused, last_error FROM wbcache.stat_server WHERE server = 'stat_upstream';
SELECT test.release();

-- Memory: a value more is an entry more; the bytes are those of the value and what is kept with it.
SELECT entries, used, stores FROM wbcache.stat_memory \gset before_
SELECT wbcache.set('stat_set:memory', to_json(repeat('x', 9998)));
SELECT entries - :before_entries AS entries, used - :before_used BETWEEN 10000 AND 10400 AS used, stores - :before_stores AS stores,
       slots > entries AS slots, size, used_percent = round(100.0 * used / size, 2) AS used_percent FROM wbcache.stat_memory;
SELECT wbcache.delete('stat_set:memory');
SELECT entries - :before_entries AS entries, used - :before_used AS used, stores - :before_stores AS stores FROM wbcache.stat_memory;

-- Workers: one launcher, and a fetcher and two loaders for each database that is named.
SELECT test.wait_until($$ (SELECT count(*) = 7 FROM wbcache.stat_worker WHERE state = 'running') $$);
SELECT kind, database, state, pid = (SELECT pid FROM pg_stat_activity a WHERE a.pid = w.pid) AS pid, started_at <= now() AS started_at,
       starts, flights_queued, flights_under_way FROM wbcache.stat_worker w ORDER BY kind, database;

-- What is under way can be seen.
SELECT wbcache.stat_reset();
SELECT wbcache.alter_endpoint('stat', server => 'test_upstream', path => '/echo/stat_held/{id}');
SELECT wbcache.set('stat:6', '"set"', soft_ttl => '1 microsecond');
SELECT test.hold('/echo/stat_held/6');
SELECT wbcache.get('stat:6');
SELECT test.wait_until($$ test.requests('/echo/stat_held/6') = 1 $$);
SELECT waiters, pending_keys FROM wbcache.stat_coalescer;
SELECT running, requests FROM wbcache.stat_server WHERE server = 'test_upstream';
SELECT flights_queued, flights_under_way FROM wbcache.stat_worker WHERE database = current_database() AND kind = 'fetcher';
SELECT test.release();
SELECT test.wait_until($$ (SELECT pending_keys = 0 FROM wbcache.stat_coalescer) $$);
SELECT running, requests, successes FROM wbcache.stat_server WHERE server = 'test_upstream';

-- stat_reset sets all counters to zero, and leaves the state of servers alone.
SELECT wbcache.stat_reset();
SELECT count(*) FROM wbcache.stat_endpoint
  WHERE hits + stale + misses + collapsed + bypasses + errors + refresh_successes + refresh_failures > 0;
SELECT * FROM wbcache.stat_coalescer;
SELECT breaker_state, consecutive_failures, next_try > now() AS next_try, running, requests, successes, not_modified, failures, refused,
       rate_limited, rate_used > 0 AS rate_used FROM wbcache.stat_server WHERE server = 'stat_upstream';

-- Counters belong to the endpoint: they go with it, and one of the same name starts at zero.
SELECT wbcache.get('stat_set:1');
SELECT hits FROM wbcache.stat_endpoint WHERE endpoint = 'stat_set';
SELECT wbcache.alter_endpoint('stat_set', soft_ttl => '2 h', hard_ttl => '2 h');
SELECT hits FROM wbcache.stat_endpoint WHERE endpoint = 'stat_set';
BEGIN;
SELECT wbcache.drop_endpoint('stat_set');
SELECT wbcache.create_endpoint('stat_set', 'stat_set:{id}');
ROLLBACK;
SELECT hits FROM wbcache.stat_endpoint WHERE endpoint = 'stat_set';
SELECT wbcache.drop_endpoint('stat_set');
SELECT count(*) FROM wbcache.stat_endpoint WHERE endpoint = 'stat_set';
SELECT wbcache.create_endpoint('stat_set', 'stat_set:{id}');
SELECT hits FROM wbcache.stat_endpoint WHERE endpoint = 'stat_set';

SELECT wbcache.drop_endpoint(name) FROM unnest('{stat, stat_set, stat_fails, stat_broken}'::name[]) name;
DROP SERVER stat_upstream CASCADE;
SELECT count(*) FROM wbcache.stat_server WHERE server = 'stat_upstream';
