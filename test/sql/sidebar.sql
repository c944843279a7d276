-- The sidebar: what it shows, in which order, how soon; what is refreshed and what not; what is refused.
CREATE SCHEMA side;
CREATE ROLE regress_side_owner;
CREATE ROLE regress_side_web;
GRANT USAGE, CREATE ON SCHEMA side TO regress_side_owner;
GRANT EXECUTE ON FUNCTION wbcache.bind_events, wbcache.unbind_events TO regress_side_owner;
CREATE TABLE side.event (id int PRIMARY KEY, sport text, sport_name text, league text, league_name text, status text, starts timestamptz);
ALTER TABLE side.event OWNER TO regress_side_owner;
CREATE FUNCTION side.sports(sidebar json) RETURNS TABLE (sport text, league text, name text, games int, live int, soon bool) LANGUAGE sql AS $$
  SELECT s ->> 'id', l ->> 'id', l ->> 'name', (l ->> 'games')::int, (l ->> 'live_games')::int, (l ->> 'next_start') IS NOT NULL
    FROM json_array_elements(sidebar -> 'sports') WITH ORDINALITY a (s, n), json_array_elements(s -> 'leagues') WITH ORDINALITY b (l, m) ORDER BY n, m
$$;

-- Nothing bound.
SELECT wbcache.get_sidebar();
SELECT wbcache.refresh_sidebar_data();
SELECT wbcache.sidebar_state();

INSERT INTO side.event VALUES
  (1, 'soccer', 'Soccer', 'epl', 'Premier League', 'unplayed', now() + interval '2 h'),
  (2, 'soccer', 'Soccer', 'epl', 'Premier League', 'Final', now() - interval '2 d'),
  (3, 'soccer', 'Soccer', 'liga', 'La Liga', 'unplayed', now() + interval '1 h'),
  (4, 'soccer', 'Soccer', 'cup', 'Кубок', 'unplayed', now() + interval '3 d'),
  (5, 'tennis', 'テニス', 'cup', 'Cup', 'in progress', now() - interval '1 h'),
  (6, 'nfl', 'NFL', 'nfl', 'NFL', 'unplayed', '9999-12-31'),
  (7, 'nfl', 'NFL', NULL, NULL, 'unplayed', NULL),
  (8, 'nfl', 'NFL', 'past', 'Past', 'unplayed', '1999-01-01'),
  (9, 'nfl', 'NFL', 'endless', 'Endless', 'unplayed', 'infinity'),
  (10, 'nfl', 'NFL', 'never', 'Never', 'unplayed', '-infinity'),
  (11, NULL, NULL, NULL, NULL, NULL, now() + interval '5 h'),
  (12, 'a:b', 'Colon', 'c', 'C', 'weird', now() + interval '4 h');
SET ROLE regress_side_owner;
SELECT wbcache.bind_events('side.event', 'id', 'sport', 'league', 'status', 'starts', 'sport_name', 'league_name');
SELECT relname, relkind, relowner::regrole, obj_description(oid, 'pg_class') <> '' AS described,
       NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e') AS of_the_user
  FROM pg_class c WHERE relname IN ('sidebar_now', 'sidebar_data', 'idx_sidebar_data_sport_league') ORDER BY relname;
SELECT pg_get_indexdef('wbcache.idx_sidebar_data_sport_league'::regclass);
RESET ROLE;
SELECT pattern, loader, soft_ttl, tags, readers, owner FROM wbcache.endpoint WHERE name = 'sidebar';
SELECT sport_id, league_id, league_name, games, live_games, next_start IS NOT NULL AS soon FROM wbcache.sidebar_data ORDER BY priority DESC, sport_id, league_id;

-- What it shows before the first refresh: the events. Afterwards: sidebar_data.
SELECT wbcache.sidebar_state();
SELECT * FROM side.sports(wbcache.get_sidebar());
SELECT status, detail LIKE '%; from events: sidebar_data is behind' AS detail FROM wbcache.lookup('sidebar:all:all');
SELECT wbcache.refresh_sidebar_data();
SELECT wbcache.refresh_sidebar_data();
SELECT wbcache.sidebar_state();
SELECT status FROM wbcache.lookup('sidebar:all:all');
SELECT value ->> 'source' AS source, detail FROM wbcache.lookup('sidebar:all:all');
SELECT rows, games, triggered_by, error, alert_triggered, duration > '0 s' AS took FROM wbcache.sidebar_refresh_log;
SELECT * FROM side.sports(wbcache.get_sidebar());
SELECT key, value FROM json_each_text(wbcache.get_sidebar('tennis') -> 'sports' -> 0) WHERE key <> 'leagues';
SELECT key, value FROM json_each_text(wbcache.get_sidebar('tennis') -> 'sports' -> 0 -> 'leagues' -> 0);

-- What each status means for it.
BEGIN;
INSERT INTO side.event SELECT 100 + n, 'words', 'Words', coalesce(status, 'none'), NULL, status, now() + interval '1 h'
  FROM unnest(ARRAY['unplayed', 'live', 'half', 'completed', 'cancelled', 'suspended', 'delayed', 'forfeited', 'invalid', 'postponed',
    'PPD', 'weird', NULL]) WITH ORDINALITY s (status, n);
SELECT live_games > 0 AS live, next_start IS NOT NULL AS to_come, string_agg(league_id, ' ' ORDER BY league_id COLLATE "C") AS words
  FROM wbcache.sidebar_now WHERE sport_id = 'words' GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK;

-- One sport, one league, of one id in two sports.
SELECT * FROM side.sports(wbcache.get_sidebar('nfl'));
SELECT * FROM side.sports(wbcache.get_sidebar(league_id => 'cup'));
SELECT * FROM side.sports(wbcache.get_sidebar('soccer', 'cup'));
SELECT wbcache.get_sidebar('all', 'all')::text = wbcache.get_sidebar()::text AS all;
SELECT wbcache.get_sidebar('chess') -> 'sports', wbcache.get_sidebar('soccer', 'nfl') -> 'sports', wbcache.get_sidebar('Спорт') -> 'sports';
SELECT wbcache.get_sidebar('');
SELECT wbcache.get_sidebar('nfl', '');
SELECT wbcache.get_sidebar('a:b');
SELECT wbcache.get_sidebar(repeat('x', 600));
SELECT wbcache.get_sidebar(E'a\nb');

-- A change is shown at once, also to its own transaction; one that is rolled back is not.
UPDATE side.event SET status = 'live' WHERE id = 4;
SELECT wbcache.sidebar_state(), value ->> 'source' FROM wbcache.lookup('sidebar:all:all');
SELECT * FROM side.sports(wbcache.get_sidebar('soccer'));
SELECT * FROM side.sports(wbcache.get_sidebar('soccer', 'cup'));
SELECT wbcache.refresh_sidebar_data();
SELECT value ->> 'source' FROM wbcache.lookup('sidebar:soccer:all');
BEGIN;
UPDATE side.event SET status = 'live' WHERE id = 3;
SELECT wbcache.sidebar_state();
SELECT sport, league, live FROM side.sports(wbcache.get_sidebar('soccer'));
ROLLBACK;
SELECT wbcache.sidebar_state();
SELECT sport, league, live FROM side.sports(wbcache.get_sidebar('soccer'));
SELECT wbcache.refresh_sidebar_data();
UPDATE side.event SET status = 'LIVE', starts = starts WHERE id = 4;
SELECT wbcache.refresh_sidebar_data();
UPDATE side.event SET id = id WHERE id = 4;
SELECT wbcache.refresh_sidebar_data();
BEGIN;
TRUNCATE side.event;
SELECT wbcache.sidebar_state(), wbcache.get_sidebar() -> 'sports';
ROLLBACK;
SELECT json_array_length(wbcache.get_sidebar() -> 'sports');
INSERT INTO side.event SELECT 100, 'long', 'Long', repeat('l', 2000), repeat('n', 100000), 'live';
SELECT wbcache.refresh_sidebar_data();
SELECT length(wbcache.get_sidebar('long') #>> '{sports,0,leagues,0,name}');
TRUNCATE side.event;
SELECT wbcache.get_sidebar() -> 'sports';
SELECT wbcache.refresh_sidebar_data();
SELECT wbcache.get_sidebar() -> 'sports', (wbcache.get_sidebar()) ->> 'source';

-- A refresh in a transaction that has changed something, and in one that keeps its snapshot: right, but not the last word.
BEGIN;
INSERT INTO side.event VALUES (1, 'soccer', 'Soccer', 'epl', 'Premier League', 'unplayed', now() + interval '2 h');
SELECT wbcache.refresh_sidebar_data();
COMMIT;
SELECT wbcache.sidebar_state();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT wbcache.refresh_sidebar_data();
COMMIT;
SELECT wbcache.sidebar_state();
BEGIN READ ONLY;
SELECT wbcache.refresh_sidebar_data();
ROLLBACK;
SELECT wbcache.refresh_sidebar_data();

-- A start that passes, but not before the refresh has seen it as one to come.
DO $$
BEGIN
  FOR n IN 0 .. 5 LOOP
    UPDATE side.event SET starts = clock_timestamp() + interval '0.5 s' * 2 ^ n;
    COMMIT;
    PERFORM wbcache.refresh_sidebar_data();
    COMMIT;
    EXIT WHEN (SELECT next_start FROM wbcache.sidebar_data) = (SELECT starts FROM side.event);
  END LOOP;
END $$;
SELECT test.wait_until($$(SELECT max(next_start) < clock_timestamp() FROM wbcache.sidebar_data)$$);
SELECT wbcache.invalidate_sidebar_cache();
SELECT value ->> 'source' AS source FROM wbcache.lookup('sidebar:all:all');
SELECT status, detail FROM wbcache.lookup('sidebar:all:all');
SELECT soon FROM side.sports(wbcache.get_sidebar());
SELECT wbcache.refresh_sidebar_data();
SELECT wbcache.refresh_sidebar_data();

-- The order: live games, soon to start, the sport's weight.
SELECT l, s, w, wbcache.sidebar_priority(l, s::timestamptz, w, '2026-01-01 00:00Z') FROM (VALUES (2, NULL, 0), (1, '2026-01-01 01:00Z', 5),
  (1, NULL, 99999), (0, '2026-01-01 00:00:30Z', 0), (0, '2026-01-01 01:00Z', 0), (0, '2026-01-01 23:59:59Z', 7), (0, '2026-01-02 00:00Z', 7),
  (0, '2025-01-01 00:00Z', 7), (0, 'infinity', 1), (0, '-infinity', NULL), (100000000, NULL, 0)) v (l, s, w);
DELETE FROM side.event;
INSERT INTO side.event SELECT n, s, s, s, s, 'completed' FROM unnest(ARRAY['a', 'b', 'c']) WITH ORDINALITY u (s, n);
SELECT wbcache.refresh_sidebar_data();
SELECT string_agg(sport, ' ') FROM side.sports(wbcache.get_sidebar());
INSERT INTO wbcache.sport_weight VALUES ('c', 2), ('b', 1);
SELECT wbcache.sidebar_state();
SELECT string_agg(sport, ' ') FROM side.sports(wbcache.get_sidebar());
SELECT wbcache.refresh_sidebar_data();
SELECT string_agg(sport_id || priority, ' ' ORDER BY sport_id) FROM wbcache.sidebar_data;
INSERT INTO wbcache.sport_weight VALUES ('a', -1);
INSERT INTO wbcache.sport_weight VALUES ('a', 100000);
TRUNCATE wbcache.sport_weight;
SELECT string_agg(sport, ' ') FROM side.sports(wbcache.get_sidebar());
SELECT wbcache.sport_weight_changed();

-- Who may.
SET ROLE regress_side_web;
SELECT wbcache.get_sidebar();
SELECT wbcache.refresh_sidebar_data();
SELECT wbcache.make_sidebar(10);
SELECT wbcache.drop_sidebar();
SELECT FROM wbcache.stat_sidebar;
SELECT FROM wbcache.sidebar_refresh_log;
INSERT INTO wbcache.sport_weight VALUES ('a', 1);
SELECT wbcache.sidebar_fallback();
RESET ROLE;
SELECT wbcache.alter_endpoint('sidebar', readers => '{regress_side_web}');
SET ROLE regress_side_web;
SELECT json_array_length(wbcache.get_sidebar() -> 'sports');
SET ROLE regress_side_owner;
SELECT wbcache.refresh_sidebar_data();
SELECT json_array_length(wbcache.get_sidebar() -> 'sports');
RESET ROLE;

-- Alerts, failures, and a log that is trimmed.
SELECT wbcache.stat_reset();
UPDATE side.event SET status = 'live' WHERE id = 1;
SET wbcache.sidebar_alert_time = 0;
SET client_min_messages = error;
SELECT wbcache.refresh_sidebar_data();
RESET wbcache.sidebar_alert_time;
RESET client_min_messages;
SELECT alerts FROM wbcache.stat_sidebar;
ALTER TABLE side.event RENAME COLUMN sport_name TO name_of_sport;
ALTER INDEX wbcache.idx_sidebar_data_sport_league RENAME TO idx_kept;
DROP INDEX wbcache.idx_kept;
UPDATE side.event SET status = 'half' WHERE id = 1;
SELECT wbcache.refresh_sidebar_data();
SELECT error, rows FROM wbcache.sidebar_refresh_log ORDER BY started DESC LIMIT 1;
SELECT state, failures, last_error, age < '1 h' AS age FROM wbcache.stat_sidebar;
SELECT sport, live FROM side.sports(wbcache.get_sidebar());
CREATE UNIQUE INDEX idx_sidebar_data_sport_league ON wbcache.sidebar_data (sport_id, league_id);
SELECT wbcache.refresh_sidebar_data();
SELECT state, last_error FROM wbcache.stat_sidebar;
INSERT INTO wbcache.sidebar_refresh_log SELECT now() - n * interval '1 h', '1 s', 1, 1, 'call', NULL, false FROM generate_series(1, 1200) n;
UPDATE side.event SET status = 'live' WHERE id = 1;
SELECT wbcache.refresh_sidebar_data();
SELECT count(*) FROM wbcache.sidebar_refresh_log;

-- Not populated, missing, and made again.
REFRESH MATERIALIZED VIEW wbcache.sidebar_data WITH NO DATA;
SELECT wbcache.sidebar_state();
SELECT wbcache.invalidate_sidebar_cache('a');
SELECT detail LIKE '%; from events: sidebar_data is not populated' AS detail FROM wbcache.lookup('sidebar:a:all');
SELECT wbcache.refresh_sidebar_data(), wbcache.sidebar_state();
SELECT wbcache.get_sidebar('a') ->> 'source';
DROP MATERIALIZED VIEW wbcache.sidebar_data;
SELECT wbcache.invalidate_sidebar_cache('a');
SELECT detail LIKE '%; from events: sidebar_data is missing' AS detail FROM wbcache.lookup('sidebar:a:all');
SELECT status, detail FROM wbcache.lookup('sidebar:a:all');
SELECT wbcache.refresh_sidebar_data();
SELECT state, fallbacks, hits > 0 AS hits, misses > 0 AS misses FROM wbcache.stat_sidebar;
SET ROLE regress_side_owner;
\set VERBOSITY terse
SELECT wbcache.bind_events('side.event', 'id', 'sport', 'league', 'status', 'starts', 'name_of_sport', 'league_name');
RESET ROLE;
SELECT wbcache.refresh_sidebar_data();
SELECT readers FROM wbcache.endpoint WHERE name = 'sidebar';

-- Unbound; bound where the keys belong to another endpoint; bound by a role that can log in.
CREATE VIEW side.mine AS SELECT * FROM wbcache.sidebar_data;
SELECT wbcache.unbind_events('side.event');
DROP VIEW side.mine;
SELECT wbcache.unbind_events('side.event');
SELECT to_regclass('wbcache.sidebar_data'), to_regclass('wbcache.sidebar_now'), count(*) FROM wbcache.endpoint WHERE name = 'sidebar';
SELECT wbcache.get_sidebar();
SELECT wbcache.create_endpoint('mine', 'sidebar:{a}:{b}');
SELECT wbcache.bind_events('side.event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.set('sidebar:x:all', '"of mine"');
SELECT wbcache.get_sidebar('x');
SELECT wbcache.drop_endpoint('mine');
SELECT wbcache.unbind_events('side.event');
ALTER TABLE side.event OWNER TO CURRENT_USER;
SELECT wbcache.bind_events('side.event', 'id', 'sport', 'league', 'status', 'starts');
SELECT function, "interval", owner = current_user::regrole AS own FROM wbcache.task WHERE name = 'sidebar_refresh';
SELECT test.wait_until($$wbcache.sidebar_state() = 'current' AND EXISTS (SELECT FROM wbcache.task WHERE name = 'sidebar_refresh' AND last_result = 'succeeded')$$);
SELECT last_detail FROM wbcache.task WHERE name = 'sidebar_refresh';
SELECT triggered_by FROM wbcache.sidebar_refresh_log ORDER BY started DESC LIMIT 1;
SELECT wbcache.unbind_events('side.event');
SELECT count(*) FROM wbcache.task WHERE name = 'sidebar_refresh';

-- Its table is dropped: the endpoint and the task stay behind, and can be dropped.
SELECT wbcache.bind_events('side.event', 'id', 'sport', 'league', 'status', 'starts');
\set VERBOSITY default
SET client_min_messages = warning;
DROP TABLE side.event CASCADE;
SELECT wbcache.get_sidebar();
\set VERBOSITY sqlstate
SELECT wbcache.get_sidebar();
SELECT wbcache.drop_endpoint('sidebar'), wbcache.unschedule_task('sidebar_refresh');
SELECT wbcache.get_sidebar();
\set VERBOSITY terse

SET client_min_messages = warning;
DROP SCHEMA side CASCADE;
DELETE FROM wbcache.sidebar_refresh_log;
DROP OWNED BY regress_side_owner, regress_side_web;
DROP ROLE regress_side_owner, regress_side_web;
