-- What the load test reads and changes: an upstream, games and their odds, two endpoints, and the sidebar of the games.
-- psql variables: port, key, rate_limit, games, live, ttl (seconds).
CREATE EXTENSION wbcache;

CREATE SERVER odds_api FOREIGN DATA WRAPPER wbcache_http
  OPTIONS (base_url 'http://127.0.0.1:0', timeout '2s', max_connections '32', rate_limit :'rate_limit',
    breaker_failures '5', breaker_cooldown '2s');
SELECT format('ALTER SERVER odds_api OPTIONS (SET base_url %L)', 'http://127.0.0.1:' || :'port' || '/api/v3') \gexec
SELECT format('CREATE USER MAPPING FOR PUBLIC SERVER odds_api OPTIONS (header %L)', 'X-Api-Key: ' || :'key') \gexec

SELECT wbcache.create_endpoint('props', 'props:categories:{game_id}', 'odds_api', '/blob?size=6000&seed={game_id}',
  soft_ttl => :ttl * interval '2 s', hard_ttl => :ttl * interval '8 s', tags => ARRAY['game:{game_id}'], on_invalidate => 'expire');
SELECT wbcache.create_endpoint('odds', 'odds:{status}:{game_id}', 'odds_api', '/echo/odds/{game_id}',
  soft_ttl => :ttl * interval '1 s', hard_ttl => :ttl * interval '4 s', tags => ARRAY['game:{game_id}'], on_invalidate => :'on_invalidate');

CREATE TABLE event (n int PRIMARY KEY, id text NOT NULL, sport text, league text, status text, starts timestamptz) WITH (fillfactor = 50);
INSERT INTO event
  SELECT n, 'g' || n, 's' || n % 5, 'l' || n % 20, CASE WHEN n <= :live THEN 'live' ELSE 'unplayed' END, now() + n * interval '1 min'
    FROM generate_series(1, :games) n;
CREATE TABLE odds (n int, book int, id text NOT NULL, price numeric NOT NULL, PRIMARY KEY (n, book)) WITH (fillfactor = 50);
INSERT INTO odds
  SELECT n, book, 'g' || n, 1.5 + book / 10.0 FROM generate_series(1, :games) n, generate_series(1, 5) book;
SELECT wbcache.bind_events('event', game_id => 'id', sport_id => 'sport', league_id => 'league', status => 'status', starts_at => 'starts');
SELECT wbcache.watch_odds('odds', game_id => 'id', price => 'price', threshold => 5);

-- A read whose error is kept, as pgbench gives up a client that meets one.
CREATE SCHEMA load;
CREATE UNLOGGED TABLE load.error (at timestamptz, sqlstate text, message text);
CREATE FUNCTION load.read(what text, game int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM wbcache.get(CASE what
    WHEN 'odds' THEN 'odds:live:g' || game
    WHEN 'props' THEN 'props:categories:g' || game
    ELSE 'sidebar:all:all' END);
EXCEPTION WHEN OTHERS THEN
  INSERT INTO load.error VALUES (clock_timestamp(), SQLSTATE, SQLERRM);
END $$;
