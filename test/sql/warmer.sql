-- The warmer: which games, in which order, which props, by whom. What runs do is in test/t/250 to 252.
\pset null NULL
SET TimeZone = 'UTC';

-- priorities: New York's clock, daylight saving or not (the change was on 14 March 2021, and back on 7 November)
SELECT n, starts_at, wbcache.calculate_priority(league, status, starts_at, 'football') FROM (VALUES
  (1, 'xfl', 'unplayed', '2021-03-10 23:59:59Z'::timestamptz),  -- Wednesday 18:59 EST
  (2, 'xfl', 'unplayed', '2021-03-11 00:00:00Z'),               -- 19:00
  (3, 'xfl', 'unplayed', '2021-03-11 02:59:59Z'),               -- 21:59
  (4, 'xfl', 'unplayed', '2021-03-11 03:00:00Z'),               -- 22:00
  (5, 'xfl', 'unplayed', '2021-03-17 22:59:59Z'),               -- Wednesday 18:59 EDT
  (6, 'xfl', 'unplayed', '2021-03-17 23:00:00Z'),               -- 19:00
  (7, 'xfl', 'unplayed', '2021-03-18 01:59:59Z'),               -- 21:59
  (8, 'xfl', 'unplayed', '2021-03-18 02:00:00Z'),               -- 22:00
  (9, 'xfl', 'unplayed', '2021-11-07 05:30:00Z'),               -- Sunday 01:30, for the first time
  (10, 'xfl', 'unplayed', '2021-11-08 00:00:00Z'),              -- Sunday 19:00 EST; a day before it would have been 20:00
  (11, 'NFL', 'halftime', '2021-11-06 03:59:59Z'),              -- Friday 23:59
  (12, 'nba', 'in_progress', '2021-11-06 04:00:00Z'),           -- Saturday 00:00
  (13, NULL, NULL, NULL), (14, 'nfl', 'live', 'infinity'), (15, 'nfl', 'live', '-infinity')) g (n, league, status, starts_at) ORDER BY n;

-- weights are rows
SELECT * FROM wbcache.warmer_weight ORDER BY kind, name;
BEGIN;
UPDATE wbcache.warmer_weight SET weight = 7 WHERE name = 'nfl';
INSERT INTO wbcache.warmer_weight (kind, name, weight) VALUES ('sport', 'football', 5), ('league', 'nba', 0), ('game', 'live', 100);
SELECT wbcache.calculate_priority('nfl', 'live', '2021-03-10 12:00Z', 'Football'), wbcache.calculate_priority('nba', 'live', '2021-03-10 12:00Z');
-- what pg_dump takes along
SELECT * FROM wbcache.warmer_weight WHERE weight IS DISTINCT FROM standard ORDER BY kind, name;
ROLLBACK;
INSERT INTO wbcache.warmer_weight VALUES ('game', 'nonsense', 1);
INSERT INTO wbcache.warmer_weight VALUES ('nonsense', 'live', 1);
INSERT INTO wbcache.warmer_weight VALUES ('game', 'live', 1000001);

-- categories, in whatever shape
SELECT value::text, array_agg(category) FROM (VALUES
  ('{"data": [{"id": "moneyline", "name": "Moneyline"}, {"id": "player_points"}, {"name": "Totals"}], "page": 1}'::json),
  ('["a", "anytime_x", "a", "player_y", "b"]'), ('[]'), ('{"data": []}'), ('{"data": {}}'), ('{}'), ('null'), ('5'), ('"x"'),
  ('[1, 2]'), ('[[]]'), ('[{"id": ""}]'), ('[{"id": 7}]'), ('[null, "a"]'), ('["\u0000"]')) v (value),
  LATERAL (SELECT category FROM wbcache.top_categories(value, 4)) c GROUP BY value::text ORDER BY value::text COLLATE "C";

-- games to come
SELECT wbcache.get_upcoming_fixtures();
SELECT wbcache.warm_prop_categories('g');
CREATE TABLE warmer_event (id text, sport text, league text, status text, starts timestamptz);
SELECT wbcache.bind_events('warmer_event', 'id', 'sport', 'league', 'status', 'starts');
INSERT INTO warmer_event VALUES
  ('soon', 'chess', 'x', 'unplayed', now() + interval '59 min'), ('later', 'chess', 'x', 'unplayed', now() + interval '61 min'),
  ('live', 'chess', 'x', 'live', now() - interval '3 hours'), ('half', 'chess', 'x', 'half', now() - interval '1 hour'),
  ('late', 'chess', 'x', 'delayed', now() - interval '1 hour'), ('forgotten', 'chess', 'x', 'live', now() - interval '13 hours'),
  ('over', 'chess', 'x', 'final', now() - interval '3 hours'), ('off', 'chess', 'x', 'cancelled', now() + interval '5 min'),
  ('ppd', 'chess', 'x', 'postponed', now() + interval '5 min'), ('strange', 'chess', 'x', 'warming up', now() + interval '5 min'),
  ('unknown', NULL, NULL, NULL, now() + interval '5 min'), (NULL, 'chess', 'x', 'unplayed', now()), ('never', 'chess', 'x', 'unplayed', NULL),
  ('top', 'football', 'nfl', 'unplayed', now() + interval '59 min');
BEGIN;
UPDATE wbcache.warmer_weight SET weight = 0 WHERE name IN ('primetime', 'weekend');
SELECT fixture_id, sport_id, league_id, status, priority, parts FROM wbcache.get_upcoming_fixtures();
SELECT string_agg(fixture_id, ' ') FROM wbcache.get_upcoming_fixtures(hours_ahead => 2);
SELECT string_agg(fixture_id, ' ') FROM wbcache.get_upcoming_fixtures(0);
ROLLBACK;
SELECT wbcache.get_upcoming_fixtures(-1);
SELECT wbcache.get_upcoming_fixtures(169);
SELECT wbcache.get_upcoming_fixtures('NaN');
SELECT count(*) FROM wbcache.get_upcoming_fixtures(NULL);

-- ten thousand games in an hour
INSERT INTO warmer_event SELECT 'many-' || n, 'football', 'nfl', 'unplayed', now() + n % 3600 * interval '1 s' FROM generate_series(1, 10000) n;
SELECT count(*), min(priority) >= 40 FROM wbcache.get_upcoming_fixtures() WHERE fixture_id LIKE 'many-%';

-- the preset, a run within its budget, by hand
ALTER SYSTEM SET wbcache.warmer_budget = 23;
SELECT pg_reload_conf();
SELECT wbcache.create_endpoint('my_categories', 'props:categories:{game}', 'test_upstream', '/markets/active?fixture_id=nfl-kc-buf&as={game}');
SELECT wbcache.preset_optic_odds('test_upstream');
SELECT name, pattern, server, path, soft_ttl, hard_ttl, tags FROM wbcache.endpoint WHERE pattern LIKE 'props:%' ORDER BY name COLLATE "C";
SELECT name, "interval", function, timeout FROM wbcache.task WHERE name = 'warmer';
SELECT test.wait_until($$ (SELECT last_result = 'succeeded' FROM wbcache.task WHERE name = 'warmer') $$);
SELECT status, running, runs, last_result, last_error, fixtures_warmed, categories_cached, props_cached, requests, errors, skipped_for_budget, keys_ahead FROM wbcache.stat_warmer;
SELECT j ->> 'status' AS status, j ->> 'running' AS running, (j ->> 'duration_ms')::float8 > 0 AS duration, j ->> 'skipped_for_budget' AS skipped
  FROM wbcache.get_warmer_status() j;
SELECT count(*), count(DISTINCT fixture_id), min(result) FROM wbcache.warm_log;
SELECT wbcache.warm_prop_categories('soon'), wbcache.warm_popular_props('soon');
SELECT wbcache.warm_prop_categories('over'), wbcache.warm_popular_props('off');
SELECT wbcache.warm_prop_categories('nope');
-- ids that can't be a segment of a key
INSERT INTO warmer_event VALUES ('a:b', 'chess', 'x', 'live', now()), ('', 'chess', 'x', 'live', now());
SELECT wbcache.warm_prop_categories('a:b');
SELECT wbcache.warm_prop_categories('');
SELECT wbcache.warm_popular_props('a:b');
SELECT wbcache.warm_popular_props('');
DELETE FROM warmer_event WHERE id IN ('a:b', '');
SELECT wbcache.warm_prop_categories(NULL), wbcache.warm_popular_props(NULL);
SELECT * FROM wbcache.warm_keys('x', '{}');
SELECT wbcache.warm_keys('x', '{no such key}');
SELECT wbcache.warm_keys('x', '{NULL}');
SELECT wbcache.preset_optic_odds('test_upstream');
SELECT wbcache.preset_optic_odds('no_such_server');
CALL wbcache.warm_upcoming();
BEGIN;
CALL wbcache.warm_upcoming();
ROLLBACK;

-- privileges
CREATE ROLE warmer_user LOGIN;
SET ROLE warmer_user;
SELECT wbcache.get_upcoming_fixtures();
SELECT wbcache.warm_prop_categories('soon');
SELECT wbcache.run_warmer();
SELECT wbcache.get_warmer_status();
SELECT wbcache.preset_optic_odds('test_upstream');
CALL wbcache.warm_upcoming();
UPDATE wbcache.warmer_weight SET weight = 1;
SELECT * FROM wbcache.warm_log;
SELECT wbcache.calculate_priority('nfl', 'unplayed', '2021-03-10 12:00Z');
RESET ROLE;
GRANT EXECUTE ON FUNCTION wbcache.warm_keys, wbcache.is_fixture_on, wbcache.warm_prop_categories TO warmer_user;
GRANT SELECT ON wbcache.events TO warmer_user;
SET ROLE warmer_user;
SELECT wbcache.warm_prop_categories('soon');
RESET ROLE;
GRANT EXECUTE ON FUNCTION wbcache.preset_optic_odds, wbcache.create_endpoint, wbcache.schedule_task TO warmer_user;
GRANT USAGE ON FOREIGN SERVER test_upstream TO warmer_user;
GRANT pg_monitor TO warmer_user;
SET ROLE warmer_user;
SELECT wbcache.preset_optic_odds('test_upstream');
RESET ROLE;

SELECT wbcache.unschedule_task('warmer');
SELECT wbcache.run_warmer();
ALTER SYSTEM RESET wbcache.warmer_budget;
SELECT pg_reload_conf();
SELECT wbcache.drop_endpoint('my_categories'), wbcache.drop_endpoint('props');
SELECT wbcache.unbind_events('warmer_event');
DROP TABLE warmer_event;
DELETE FROM wbcache.warm_log;
DROP OWNED BY warmer_user;
DROP ROLE warmer_user;
