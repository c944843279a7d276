-- Triggers on tables of events and odds: what they invalidate, what they refuse, and what becomes of them.
CREATE SCHEMA sports;
CREATE ROLE regress_watch_owner;
GRANT USAGE, CREATE ON SCHEMA sports TO regress_watch_owner;
GRANT EXECUTE ON FUNCTION wbcache.bind_events, wbcache.unbind_events, wbcache.watch_odds, wbcache.unwatch_odds TO regress_watch_owner;

-- Statuses.
SELECT status, wbcache.classify_game_status(status), wbcache.is_status_off(status) FROM unnest(ARRAY['unplayed', 'live', 'half', 'completed', 'cancelled',
  'suspended', 'delayed', 'forfeited', 'invalid', 'postponed', 'Scheduled', 'in_progress', 'In Progress', 'IN-PLAY', 'halftime', 'Final',
  'final/OT', 'canceled', 'PPD', ' live ', 'Überraschung', 'Whatever', 'a word that is longer than any known one', '', NULL]) status;

CREATE TABLE sports.event (id int PRIMARY KEY, sport text, league varchar(20), status char(12), starts timestamptz, home text, away text, score int);
ALTER TABLE sports.event OWNER TO regress_watch_owner;
CREATE TABLE sports.odds (id int PRIMARY KEY, event int, price numeric, book text);
ALTER TABLE sports.odds OWNER TO regress_watch_owner;

-- What cannot be bound.
SET ROLE regress_watch_owner;
CREATE VIEW sports.a_view AS SELECT * FROM sports.event;
CREATE MATERIALIZED VIEW sports.a_matview AS SELECT * FROM sports.event;
CREATE TABLE sports.strange (id json, sport point, status int[], starts date, price text);
CREATE TEMP TABLE a_temp (LIKE sports.event);
SELECT wbcache.bind_events('sports.nothing', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events(NULL, 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.event', 'id', NULL, 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.event', 'nothing', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.event', 'ctid', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.event', 'id', 'sport', 'league', 'status', 'starts', away => 'guest');
SELECT wbcache.bind_events('sports.event', 'id', 'sport', 'league', 'status', 'home');
SELECT wbcache.bind_events('sports.event', 'starts', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.strange', 'id', 'sport', 'id', 'status', 'starts');
SELECT wbcache.bind_events('sports.a_view', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.a_matview', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.event_pkey', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('a_temp', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('wbcache.endpoint', 'name', 'name', 'name', 'name', 'name');
SELECT wbcache.watch_odds('sports.strange', 'price', 'price');
SELECT wbcache.watch_odds('sports.odds', 'event', 'nothing');
SELECT wbcache.watch_odds('sports.odds', 'event', 'price', -1);
SELECT wbcache.watch_odds('sports.odds', 'event', 'price', 'NaN');
SELECT wbcache.watch_odds('sports.odds', 'event', 'price', by => 'weight');
SELECT wbcache.watch_odds('sports.odds', 'event', 'price', by => NULL);
SELECT wbcache.watch_odds('sports.odds', NULL, 'price');
SELECT wbcache.watch_odds(0, 'event', 'price');
SELECT wbcache.unbind_events('sports.event');
SELECT wbcache.unwatch_odds('sports.odds');
CREATE TRIGGER mine AFTER INSERT ON sports.event FOR EACH ROW EXECUTE FUNCTION wbcache.events_changed('game_id');
RESET ROLE;
CREATE TRIGGER mine AFTER INSERT ON sports.event FOR EACH STATEMENT EXECUTE FUNCTION wbcache.events_changed('game_id');
INSERT INTO sports.event (id) VALUES (1);
DROP TRIGGER mine ON sports.event;
SELECT wbcache.events_changed();

-- Bound, and bound again.
SET ROLE regress_watch_owner;
SELECT wbcache.bind_events('sports.event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.bind_events('sports.event', 'id', 'sport', 'league', 'status', 'starts', home => 'home', away => 'away');
SELECT wbcache.watch_odds('sports.odds', 'event', 'price');
SELECT wbcache.bind_events('sports.odds', 'id', 'book', 'book', 'book', 'id');
CREATE TABLE sports.event2 (LIKE sports.event);
SELECT wbcache.bind_events('sports.event2', 'id', 'sport', 'league', 'status', 'starts');
SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid IN ('sports.event'::regclass, 'sports.odds'::regclass) ORDER BY 1, 2;
SELECT relowner::regrole, pg_get_viewdef(oid) FROM pg_class WHERE oid = 'wbcache.events'::regclass;
SELECT obj_description('wbcache.events'::regclass) <> '' AS described,
       NOT EXISTS (SELECT FROM pg_depend WHERE objid = 'wbcache.events'::regclass AND deptype = 'e') AS of_the_user;
RESET ROLE;

-- What each change invalidates: each key is cached, then the change is made, and those are shown that have no value any more.
SELECT wbcache.create_endpoint('w_odds', 'odds:{status}:{id}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('w_page', 'page:{id}', soft_ttl => '1 h', tags => ARRAY['game:{id}']);
SELECT wbcache.drop_endpoint('sidebar');
SELECT wbcache.create_endpoint('w_sidebar', 'sidebar:{sport_id}:{league_id}', soft_ttl => '1 h',
                               tags => ARRAY['sidebar', 'sidebar:sport:{sport_id}', 'sidebar:league:{league_id}']);
SELECT wbcache.create_endpoint('w_other', 'other:{id}', soft_ttl => '1 h');
CREATE FUNCTION sports.keys() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT 'page:' || g FROM unnest(ARRAY['1', '2', '10', 'x*']) g
  UNION ALL SELECT 'odds:live:1' UNION ALL SELECT 'odds:weird:1' UNION ALL SELECT 'odds:live:2'
  UNION ALL SELECT 'sidebar:' || s FROM unnest(ARRAY['soccer:epl', 'soccer:all', 'all:all', 'soccer:liga', 'nfl:nfl', 'nfl:all']) s
  UNION ALL SELECT 'other:1'
$$;
CREATE FUNCTION sports.change(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN (SELECT string_agg(k, ' ') FROM sports.keys() k WHERE (wbcache.lookup(k)).status = 'bypass');
END $$;
COMMENT ON FUNCTION sports.change IS 'makes a change and tells which keys this transaction has invalidated';
SELECT count(wbcache.set(k, '1')) FROM sports.keys() k;

SELECT sports.change($$INSERT INTO sports.event VALUES (1, 'soccer', 'epl', 'unplayed', '2026-01-01', 'a', 'b', 0), (2, 'nfl', 'nfl', 'unplayed', '2026-01-01', 'c', 'd', 0)$$);
SELECT sports.change($$UPDATE sports.event SET status = 'live' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET status = 'live' WHERE id = 1$$) IS NULL AS nothing_changed;
SELECT sports.change($$UPDATE sports.event SET status = 'live  ' WHERE id = 1$$) IS NULL AS same_by_the_types_equality;
SELECT sports.change($$UPDATE sports.event SET score = 1$$) IS NULL AS other_columns;
SELECT sports.change($$UPDATE sports.event SET status = 'weird' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET league = 'liga' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET sport = 'nfl', league = 'nfl' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET league = NULL WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET sport = NULL WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET sport = 'soccer', league = 'epl', status = NULL WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET starts = starts + '1 h' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET home = 'z' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET id = 10 WHERE id = 1$$);
SELECT sports.change($$DELETE FROM sports.event WHERE id = 10$$);
SELECT sports.change($$INSERT INTO sports.event SELECT * FROM sports.event WHERE false$$) IS NULL AS no_rows;
SELECT sports.change($$INSERT INTO sports.event VALUES (2, 'nfl', 'nfl', 'unplayed') ON CONFLICT (id) DO UPDATE SET status = 'half'$$);
SELECT sports.change($$MERGE INTO sports.event e USING (VALUES (2, 'live')) v (id, status) ON e.id = v.id WHEN MATCHED THEN UPDATE SET status = v.status$$);
SELECT sports.change($$TRUNCATE sports.event$$);
SELECT sports.change($$SET LOCAL session_replication_role = replica; INSERT INTO sports.event VALUES (1, 'soccer', 'epl', 'live')$$);
UPDATE sports.event SET status = 'canceled' WHERE id = 1;
UPDATE sports.event SET status = 'ppd' WHERE id = 1;
SELECT DISTINCT reason FROM wbcache.invalidation_events WHERE what = 'game:1' AND reason IN ('CANCELLED', 'POSTPONED') ORDER BY reason;

-- A change that a BEFORE trigger makes counts too.
CREATE FUNCTION sports.kick_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.status := 'live'; RETURN NEW; END $$;
CREATE TRIGGER kick_off BEFORE UPDATE ON sports.event FOR EACH ROW EXECUTE FUNCTION sports.kick_off();
SELECT sports.change($$UPDATE sports.event SET score = 2 WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET score = 3 WHERE id = 1$$) IS NULL AS live_already;
DROP TRIGGER kick_off ON sports.event;

-- Odds.
SELECT sports.change($$INSERT INTO sports.odds VALUES (1, 1, 2.00, 'a'), (2, 2, NULL, 'a')$$);
SELECT sports.change($$UPDATE sports.odds SET price = 2.20 WHERE id = 1$$) IS NULL AS not_above_the_threshold;
SELECT sports.change($$UPDATE sports.odds SET price = 2.43 WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.odds SET price = 2.430 WHERE id = 1$$) IS NULL AS equal;
SELECT sports.change($$UPDATE sports.odds SET price = 1 WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET price = 0 WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET price = 0.001 WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET price = 'NaN' WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET price = 1e400 WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET price = NULL WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET book = 'b'$$) IS NULL AS other_columns;
SELECT sports.change($$UPDATE sports.odds SET event = 10 WHERE id = 2$$);
SELECT sports.change($$UPDATE sports.odds SET event = NULL WHERE id = 2$$);
SELECT sports.change($$DELETE FROM sports.odds WHERE id = 1$$);
SELECT sports.change($$TRUNCATE sports.odds$$);
BEGIN;
SET LOCAL wbcache.odds_threshold = 50;
INSERT INTO sports.odds VALUES (1, 1, 2.00);
COMMIT;

-- A threshold of its own, and odds compared by probability.
SELECT wbcache.watch_odds('sports.odds', 'event', 'price', 5, 'probability');
SELECT sports.change($$UPDATE sports.odds SET price = -100 WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.odds SET price = 100 WHERE id = 1$$) IS NULL AS the_same_probability;
SELECT sports.change($$UPDATE sports.odds SET price = 104 WHERE id = 1$$) IS NULL AS below_5_percent;
SELECT sports.change($$UPDATE sports.odds SET price = 140 WHERE id = 1$$);

-- A set() between two changes of the same game: the second counts.
BEGIN;
UPDATE sports.odds SET price = 300 WHERE id = 1;
SELECT wbcache.set('page:1', '"set"');
SELECT wbcache.get('page:1');
UPDATE sports.odds SET price = 100 WHERE id = 1;
SELECT wbcache.get('page:1');
ROLLBACK;
-- A savepoint that is rolled back: what comes after it counts.
BEGIN;
SAVEPOINT a;
UPDATE sports.odds SET price = 300 WHERE id = 1;
ROLLBACK TO a;
SELECT status FROM wbcache.lookup('page:1');
UPDATE sports.odds SET price = 300 WHERE id = 1;
SELECT status FROM wbcache.lookup('page:1');
ROLLBACK;
-- Nothing of a transaction that was rolled back is remembered.
SELECT sports.change($$UPDATE sports.odds SET price = 300 WHERE id = 1$$);

-- Game ids of any kind.
CREATE TABLE sports.words (id text, price float4);
SELECT wbcache.watch_odds('sports.words', 'id', 'price', 0);
SELECT sports.change($$INSERT INTO sports.words VALUES ('x*', 1)$$);
SELECT sports.change($$INSERT INTO sports.words VALUES ('*', 1), ('', 1), (NULL, 1), ('1:2', 1), (repeat('g', 600), 1), ('1"', 1)$$) IS NULL AS none_of_these;
SELECT sports.change($$UPDATE sports.words SET price = 1.001 WHERE id = 'x*'$$);

-- A renamed column is followed. One that is dropped takes the trigger along, if at all; then each change invalidates all.
ALTER TABLE sports.event RENAME COLUMN status TO state;
ALTER TABLE sports.event ADD COLUMN status text;
SELECT sports.change($$UPDATE sports.event SET state = 'half' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.event SET status = 'completed' WHERE id = 1$$) IS NULL AS another_column;
SELECT status FROM wbcache.events;
ALTER TABLE sports.odds DROP COLUMN price;
\set VERBOSITY terse
ALTER TABLE sports.odds DROP COLUMN price CASCADE;
\set VERBOSITY default
SELECT sports.change($$INSERT INTO sports.odds VALUES (5, 1)$$);
SELECT sports.change($$DELETE FROM sports.odds WHERE id = 5$$);
ALTER TABLE sports.odds ADD COLUMN price int;
SELECT wbcache.watch_odds('sports.odds', 'event', 'price');
SELECT sports.change($$INSERT INTO sports.odds VALUES (5, 1)$$);

-- Unbound.
CREATE VIEW sports.of_events AS SELECT * FROM wbcache.events;
SELECT wbcache.unbind_events('sports.event');
DROP VIEW sports.of_events;
SELECT wbcache.unbind_events('sports.event');
ALTER TRIGGER wbcache_odds_update ON sports.odds RENAME TO of_other_name;
SELECT wbcache.unwatch_odds('sports.odds');
SELECT sports.change($$SELECT wbcache.watch_odds('sports.odds', 'event', 'price')$$);
SELECT sports.change($$SELECT wbcache.unwatch_odds('sports.odds')$$);
SELECT sports.change($$UPDATE sports.event SET state = 'live'$$) IS NULL AS unbound, sports.change($$INSERT INTO sports.odds VALUES (6, 1)$$) IS NULL AS unwatched;
SELECT count(*) FROM pg_trigger WHERE tgfoid IN ('wbcache.events_changed'::regproc, 'wbcache.odds_changed'::regproc) AND tgrelid IN ('sports.event'::regclass, 'sports.odds'::regclass);
SELECT to_regclass('wbcache.events');

-- Partitions: those there are and those to come, with columns in another order.
CREATE TABLE sports.parted (status text, id int, sport text, league text, starts timestamp, PRIMARY KEY (id, sport)) PARTITION BY LIST (sport);
CREATE TABLE sports.parted_soccer PARTITION OF sports.parted FOR VALUES IN ('soccer');
SELECT wbcache.bind_events('sports.parted', 'id', 'sport', 'league', 'status', 'starts', 'sport', 'league');
CREATE TABLE sports.parted_nfl (starts timestamp, league text, dropped int, sport text NOT NULL, id int NOT NULL, status text);
ALTER TABLE sports.parted_nfl DROP COLUMN dropped;
ALTER TABLE sports.parted ATTACH PARTITION sports.parted_nfl FOR VALUES IN ('nfl');
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE tgname LIKE 'wbcache%' AND tgrelid::regclass::text LIKE 'sports.parted%' ORDER BY 1, 2;
SELECT sports.change($$INSERT INTO sports.parted VALUES ('unplayed', 1, 'soccer', 'epl'), ('unplayed', 2, 'nfl', 'nfl')$$);
SELECT sports.change($$UPDATE sports.parted_nfl SET status = 'live'$$);
SELECT sports.change($$UPDATE sports.parted SET status = 'live' WHERE id = 1$$);
SELECT sports.change($$UPDATE sports.parted SET status = 'live'$$) IS NULL AS nothing_changed;
SELECT sports.change($$UPDATE sports.parted SET sport = 'nfl' WHERE id = 1$$);
SELECT sports.change($$TRUNCATE sports.parted_soccer$$);
SELECT sports.change($$ALTER TABLE sports.parted DETACH PARTITION sports.parted_nfl$$);
SELECT sports.change($$UPDATE sports.parted_nfl SET status = 'half'$$) IS NULL AS detached;
SELECT sports.change($$ALTER TABLE sports.parted ATTACH PARTITION sports.parted_nfl FOR VALUES IN ('nfl')$$);
SELECT sports.change($$DROP TABLE sports.parted_nfl$$);
SELECT sports.change($$TRUNCATE sports.parted$$);
SELECT * FROM wbcache.events;

-- What the condition of the triggers takes for a change: any that can be seen, and no other.
SELECT wbcache.differ(1, 1, 'a'::text, 'a'::text, NULL::int, NULL::int) AS nothing,
       wbcache.differ(1, 1, 'a'::text, 'b'::text) AS second,
       wbcache.differ(NULL::int, 1) AS from_null,
       wbcache.differ(1, NULL::int) AS to_null,
       wbcache.differ(1.0, 1.00) AS digits,
       wbcache.differ(repeat('x', 100000), repeat('x', 100000)) AS long;
SELECT wbcache.differ(1);
SELECT wbcache.differ(1, 1::bigint);

SELECT wbcache.drop_endpoint(name) FROM wbcache.endpoint WHERE name LIKE 'w\_%' ORDER BY name;
\set VERBOSITY terse
SELECT wbcache.unbind_events('sports.parted');

-- An owner who is no superuser adds partitions to what is bound, and may no more when nothing of his is.
CREATE VIEW sports.may AS SELECT has_function_privilege('regress_watch_owner', 'wbcache.events_changed()', 'EXECUTE') AS events,
  has_function_privilege('regress_watch_owner', 'wbcache.odds_changed()', 'EXECUTE') AS odds;
SELECT * FROM sports.may;
SET ROLE regress_watch_owner;
CREATE TABLE sports.own (id int, sport text, league text, status text, starts timestamptz, price numeric) PARTITION BY LIST (sport);
CREATE TABLE sports.own2 (event int, price numeric);
SELECT wbcache.bind_events('sports.own', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.watch_odds('sports.own', 'id', 'price');
SELECT wbcache.watch_odds('sports.own2', 'event', 'price');
CREATE TABLE sports.own_soccer PARTITION OF sports.own FOR VALUES IN ('soccer');
CREATE TABLE sports.own_nfl (LIKE sports.own);
ALTER TABLE sports.own ATTACH PARTITION sports.own_nfl FOR VALUES IN ('nfl');
RESET ROLE;
SELECT tgrelid::regclass, count(*), bool_and(tgenabled = 'A') AS always FROM pg_trigger
  WHERE tgname LIKE 'wbcache%' AND tgrelid::regclass::text LIKE 'sports.own\_%' GROUP BY 1 ORDER BY 1;
SET ROLE regress_watch_owner;
SELECT wbcache.unwatch_odds('sports.own');
SELECT wbcache.unbind_events('sports.own');
RESET ROLE;
SELECT * FROM sports.may;
SET ROLE regress_watch_owner;
SELECT wbcache.unwatch_odds('sports.own2');
RESET ROLE;
SELECT * FROM sports.may;
SET client_min_messages = warning;
DROP SCHEMA sports CASCADE;
DROP OWNED BY regress_watch_owner;
DROP ROLE regress_watch_owner;
