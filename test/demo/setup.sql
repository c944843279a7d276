-- What the demo's database holds: the extension, one upstream, one endpoint, and helpers that measure.
-- psql variables: base_url, header.

CREATE EXTENSION wbcache;

CREATE SERVER optic_odds FOREIGN DATA WRAPPER wbcache_http
  OPTIONS (base_url :'base_url', timeout '5s', breaker_failures '5', breaker_cooldown '5s');
CREATE USER MAPPING FOR PUBLIC SERVER optic_odds OPTIONS (header :'header');

SELECT wbcache.create_endpoint('props_categories',
  pattern => 'props:categories:{fixture_id}',
  server => 'optic_odds',
  path => '/markets/active?fixture_id={fixture_id}',
  soft_ttl => '2 s', hard_ttl => '10 min',
  tags => ARRAY['game:{fixture_id}']);

CREATE SCHEMA demo;

-- The answers of many clients at once.
CREATE UNLOGGED TABLE demo.answer (digest text, started timestamptz, finished timestamptz);

CREATE FUNCTION demo.key(fixture_id text) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT 'props:categories:' || fixture_id $$;

-- One lookup as a client would see it: its status, or the error, and how long it took in microseconds.
CREATE FUNCTION demo.ask(key text, OUT status text, OUT microseconds numeric, OUT bytes int)
LANGUAGE plpgsql AS $$
DECLARE
  answer record;
  started timestamptz := clock_timestamp();
BEGIN
  BEGIN
    SELECT * INTO answer FROM wbcache.lookup(key);
    status := answer.status;
    bytes := octet_length(answer.value::text);
  EXCEPTION WHEN OTHERS THEN
    status := 'error: ' || SQLERRM;
  END;
  microseconds := round(extract(epoch FROM clock_timestamp() - started) * 1e6);
END $$;

-- The same, and how long after it the key was fresh again, in microseconds.
CREATE FUNCTION demo.ask_until_fresh(key text, OUT status text, OUT microseconds numeric, OUT refreshed numeric)
LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
BEGIN
  SELECT a.status, a.microseconds INTO status, microseconds FROM demo.ask(key) a;
  WHILE (SELECT l.status FROM wbcache.lookup(key) l) <> 'hit' AND clock_timestamp() < started + interval '10 s' LOOP
    PERFORM pg_sleep(0.005);
  END LOOP;
  refreshed := round(extract(epoch FROM clock_timestamp() - started) * 1e6);
END $$;

-- One client of many: keeps a digest of what it got.
CREATE FUNCTION demo.ask_and_note(key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
  value json := wbcache.get(key);
  finished timestamptz := clock_timestamp();
BEGIN
  INSERT INTO demo.answer VALUES (md5(value::text), started, finished);
END $$;

-- The median time of one call of get in a row of them, in microseconds.
CREATE FUNCTION demo.median_get(key text, calls int) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  times float8[];
  started timestamptz;
BEGIN
  FOR i IN 1 .. calls LOOP
    started := clock_timestamp();
    PERFORM wbcache.get(key);
    times[i] := extract(epoch FROM clock_timestamp() - started) * 1e6;
  END LOOP;
  RETURN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t) FROM unnest(times) t);
END $$;
