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

-- A key without an upstream, always fresh. A session that has asked for it once is warm: what it measures next isn't the
-- loading of catalogs.
SELECT wbcache.create_endpoint('demo_warm_up', pattern => 'demo:warm-up', soft_ttl => '1 day');
SELECT wbcache.set('demo:warm-up', '{}');

CREATE SCHEMA demo;

CREATE FUNCTION demo.key(fixture_id text) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT 'props:categories:' || fixture_id $$;

-- One lookup as a client would see it: status, time it took, size of the value; or the status "error" with its words.
CREATE FUNCTION demo.ask(key text, OUT status text, OUT microseconds numeric, OUT bytes int, OUT error text)
LANGUAGE plpgsql AS $$
DECLARE
  answer record;
  detail text;
  started timestamptz;
  finished timestamptz;
BEGIN
  BEGIN
    started := clock_timestamp();
    answer := wbcache.lookup(key);
    finished := clock_timestamp();
    status := answer.status;
    bytes := octet_length(answer.value::text);
  EXCEPTION WHEN OTHERS THEN
    finished := clock_timestamp();
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    status := 'error';
    error := concat_ws('. ', SQLERRM, nullif(detail, ''));
  END;
  microseconds := round(extract(epoch FROM finished - started) * 1e6);
END $$;

-- The mean time of a call of get in a row of them, in microseconds.
CREATE FUNCTION demo.mean_get(key text, calls int) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
BEGIN
  FOR i IN 1 .. calls LOOP
    PERFORM wbcache.get(key);
  END LOOP;
  RETURN extract(epoch FROM clock_timestamp() - started) * 1e6 / calls;
END $$;

-- One client of many: asks at the given time, and keeps a digest of what it got.
CREATE UNLOGGED TABLE demo.answer (digest text, started timestamptz, finished timestamptz);

CREATE FUNCTION demo.ask_at(key text, start timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz;
  finished timestamptz;
  value json;
BEGIN
  value := wbcache.get('demo:warm-up');
  PERFORM pg_sleep_until(start);
  started := clock_timestamp();
  value := wbcache.get(key);
  finished := clock_timestamp();
  -- Writing would take the processor from those who still wait.
  PERFORM pg_sleep(1);
  INSERT INTO demo.answer VALUES (md5(value::text), started, finished);
END $$;

-- Returns when the value of a key is past its soft TTL.
CREATE FUNCTION demo.grow_stale(key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  fresh_for interval;
BEGIN
  PERFORM demo.ask_until_fresh(key);
  SELECT ttl INTO fresh_for FROM wbcache.lookup(key);
  PERFORM pg_sleep_for(fresh_for + interval '10 ms');
END $$;

-- One lookup, and how long after it the key was fresh, in microseconds.
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

-- The user's own table of games. The demo itself says when the sidebar's data is refreshed, not the clock.
CREATE TABLE demo.event (id text PRIMARY KEY, sport text, league text, league_name text, status text, starts timestamptz);
BEGIN;
SELECT wbcache.bind_events('demo.event', game_id => 'id', sport_id => 'sport', league_id => 'league', status => 'status',
  starts_at => 'starts', league_name => 'league_name');
SELECT wbcache.schedule_task('sidebar_refresh', '1 day', 'wbcache.refresh_sidebar_data()');
COMMIT;

-- Microseconds of the first get_sidebar, of a hot one, and of one right after a game has changed; live games before and then.
CREATE FUNCTION demo.live_games() RETURNS bigint LANGUAGE sql AS
  $$ SELECT sum((s ->> 'live_games')::int) FROM json_array_elements(wbcache.get_sidebar() -> 'sports') s $$;
CREATE PROCEDURE demo.change(game text, INOUT cold numeric, INOUT hot numeric, INOUT after numeric, INOUT live text) LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
  before bigint;
BEGIN
  PERFORM wbcache.get_sidebar();
  cold := extract(epoch FROM clock_timestamp() - started) * 1e6;
  started := clock_timestamp();
  FOR i IN 1 .. 1000 LOOP
    PERFORM wbcache.get_sidebar();
  END LOOP;
  hot := extract(epoch FROM clock_timestamp() - started) * 1e3;
  UPDATE demo.event SET status = 'unplayed' WHERE id = game;
  COMMIT;
  before := demo.live_games();
  UPDATE demo.event SET status = 'live' WHERE id = game;
  COMMIT;
  started := clock_timestamp();
  live := format('%s live, then %s', before, demo.live_games());
  after := extract(epoch FROM clock_timestamp() - started) * 1e6;
END $$;
