-- What is invalidated by which function, and what is left alone; reasons, counters and events.
SELECT wbcache.stat_reset();
SELECT wbcache.create_endpoint('inv', 'inv:{a}', soft_ttl => '1 h', tags => ARRAY['inv_tag', 'inv_tag:{a}']);
SELECT wbcache.create_endpoint('inv_deep', 'inv:{a}:{b}', soft_ttl => '1 h', tags => '{inv_tag}');
SELECT wbcache.create_endpoint('inv_echo', 'inv_echo:{a}', 'test_upstream', '/echo/inv/{a}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('odds', 'odds:{status}:{game_id}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('market', 'odds:{status}:{game_id}:{market}', soft_ttl => '1 h', tags => ARRAY['game:{game_id}']);
SELECT wbcache.create_endpoint('props', 'props:categories:{game_id}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('sidebar', 'sidebar:{sport_id}:{league_id}', soft_ttl => '1 h',
                               tags => ARRAY['sidebar', 'sidebar:sport:{sport_id}', 'sidebar:league:{league_id}']);

-- Sets these keys, does what is asked for, and returns those that are gone.
CREATE FUNCTION gone(keys text[], command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  RETURN (SELECT string_agg(key, '  ' ORDER BY n) FROM unnest(keys) WITH ORDINALITY k (key, n) WHERE wbcache.get(key) IS NULL);
END $$;
CREATE PROCEDURE fill(keys text[]) LANGUAGE sql AS $$ SELECT wbcache.set(key, '1') FROM unnest(keys) key $$;

-- Which functions there are, and what they take.
\df wbcache.invalidate*
\df wbcache.register_cache_key
SELECT enum_range(NULL::wbcache.invalidation_reason);

-- Patterns: * is any characters, ? one character, a backslash takes the meaning away.
CREATE TABLE globbed (key text);
INSERT INTO globbed VALUES ('inv:1'), ('inv:12'), ('inv:123'), ('inv:1:2'), ('inv:*'), ('inv:?'), ('inv:\'), ('inv:ä'), ('inv:äö'), ('inv:a*b'), ('inv:abab'),
                           ('inv:ab:ab'), ('inv:€'), ('inv:X');
CREATE FUNCTION globbed(glob text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text;
BEGIN
  PERFORM wbcache.set(key, '1') FROM globbed;
  PERFORM wbcache.invalidate_pattern(glob);
  -- what the transaction itself gets is decided by the same match
  SELECT string_agg(key, '  ' ORDER BY key COLLATE "C") INTO answer FROM globbed WHERE wbcache.get(key) IS NULL;
  RAISE EXCEPTION USING MESSAGE = coalesce(answer, 'none');
EXCEPTION WHEN raise_exception THEN
  RETURN SQLERRM;
END $$;
CREATE TABLE glob (id int GENERATED ALWAYS AS IDENTITY, glob text);
INSERT INTO glob (glob) VALUES ('inv:1'), ('inv:1*'), ('inv:1?'), ('inv:?'), ('inv:??'), ('inv:*b'), ('inv:a*b'), ('inv:a\*b'), ('inv:\*'), ('inv:\?'), ('inv:\\'),
                       ('inv:\1'), ('inv:*:*'), ('inv:*a*b*a*b*'), ('*'), ('**'), ('*?'), ('*2'), ('inv'), ('INV:x'), ('inv:ä'), ('inv:?ö'), ('?nv:X'), ('inv:[1]'), ('%'), ('inv:_');
SELECT glob, globbed(glob) FROM glob ORDER BY id;

-- The same for what others read, after the commit: one by one.
SELECT count(wbcache.set(key, '1')) FROM globbed;
SELECT wbcache.invalidate_pattern('inv:1*');
SELECT key, status FROM globbed, wbcache.lookup(key) ORDER BY key COLLATE "C";
SELECT wbcache.invalidate_pattern('inv:?');
SELECT wbcache.invalidate_pattern('inv:*b');
SELECT key, status FROM globbed, wbcache.lookup(key) WHERE status = 'hit' ORDER BY key COLLATE "C";
-- What isn't hit was looked at once, and needs no look afterwards; a value that is new is not concerned.
SELECT wbcache.set('inv:1', '2');
SELECT value, status FROM wbcache.lookup('inv:1');
SELECT value, status FROM wbcache.lookup('inv:1');

-- More patterns than are remembered: what has not been read meanwhile may go, and nothing that was hit stays.
CALL fill('{inv:kept, inv:read, inv:hit}');
DO $$
BEGIN
  PERFORM wbcache.invalidate_pattern('inv:hit');
  COMMIT;
  FOR i IN 1 .. 300 LOOP
    PERFORM wbcache.invalidate_pattern('no:such:key:' || i);
    COMMIT;
    ASSERT wbcache.get('inv:read') IS NOT NULL;
  END LOOP;
END $$;
SELECT key, status FROM unnest('{inv:read, inv:hit, inv:kept}'::text[]) key, wbcache.lookup(key);

-- More in one transaction than it may have: everything is invalid.
CALL fill('{inv:1}');
BEGIN;
SELECT count(wbcache.invalidate_pattern('no:such:key:' || i % 16)) FROM generate_series(1, 100) i;
SELECT status FROM wbcache.lookup('inv:1');
COMMIT;
SELECT status FROM wbcache.lookup('inv:1');
BEGIN;
SELECT count(wbcache.invalidate_pattern('no:such:key:' || i)) FROM generate_series(1, 17) i;
COMMIT;
SELECT status FROM wbcache.lookup('inv:1');

-- A rollback, and a savepoint.
CALL fill('{inv:1, inv:2}');
BEGIN;
SELECT wbcache.invalidate_pattern('inv:*');
SELECT status, detail FROM wbcache.lookup('inv:1');
ROLLBACK;
SELECT status FROM wbcache.lookup('inv:1');
BEGIN;
SELECT wbcache.invalidate_pattern('inv:2');
SAVEPOINT a;
SELECT wbcache.invalidate_pattern('inv:1');
SELECT key, status FROM unnest('{inv:1, inv:2}'::text[]) key, wbcache.lookup(key);
ROLLBACK TO a;
SELECT key, status FROM unnest('{inv:1, inv:2}'::text[]) key, wbcache.lookup(key);
COMMIT;
SELECT key, status FROM unnest('{inv:1, inv:2}'::text[]) key, wbcache.lookup(key);
BEGIN;
SAVEPOINT a;
SELECT wbcache.invalidate_pattern('inv:1');
RELEASE a;
COMMIT;
SELECT status FROM wbcache.lookup('inv:1');

-- set() after it survives, and set() before it doesn't; the pattern is repeated where it counts again.
BEGIN;
SELECT wbcache.invalidate_pattern('inv:*'), wbcache.set('inv:1', '"after"'), wbcache.set('inv:2', '"before"');
SELECT wbcache.invalidate_pattern('*:2');
SELECT wbcache.set('inv:3', '"before"');
SELECT wbcache.invalidate_pattern('inv:*3');
SELECT wbcache.invalidate_pattern('*:2');
SELECT wbcache.set('inv:2:2', '"after"');
SELECT wbcache.invalidate_pattern('inv:4'), wbcache.set('inv:4', '"between"');
SELECT wbcache.invalidate_pattern('inv:4');
SELECT key, value FROM unnest('{inv:1, inv:2, inv:3, inv:4, inv:2:2}'::text[]) key, wbcache.lookup(key);
COMMIT;
SELECT key, value, status FROM unnest('{inv:1, inv:2, inv:3, inv:4, inv:2:2}'::text[]) key, wbcache.lookup(key);

-- What get_with_swr keeps is private: no pattern reaches it.
CREATE FUNCTION inv_load(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT to_json(clock_timestamp()) $$;
SELECT wbcache.get_with_swr('inv-private', 'inv_load(text[])', '1 h', '2 h') AS private \gset
SELECT wbcache.invalidate_pattern('*');
SELECT wbcache.get_with_swr('inv-private', 'inv_load(text[])', '1 h', '2 h')::text = :'private' AS kept;
BEGIN;
SELECT wbcache.invalidate_pattern('*');
SELECT wbcache.get_with_swr('inv-private', 'inv_load(text[])', '1 h', '2 h')::text = :'private' AS kept;
COMMIT;
SELECT wbcache.invalidate_own('inv-private', 'CANCELLED');
SELECT wbcache.get_with_swr('inv-private', 'inv_load(text[])', '1 h', '2 h')::text = :'private' AS kept;

-- Fetched values; and the table tier, whose rows carry the same.
SELECT wbcache.get('inv_echo:1') ->> 'n' AS n, wbcache.get('inv_echo:2') ->> 'n' AS n;
SELECT test.wait_until($$ (SELECT count(*) = 2 FROM wbcache.entry WHERE key LIKE 'inv\_echo:%') $$);
SELECT wbcache.invalidate_pattern('inv_echo:1');
SELECT key, wbcache.entry_is_current(key, epoch, stripes, generations) FROM wbcache.entry WHERE key LIKE 'inv\_echo:%' ORDER BY key;
SELECT wbcache.get('inv_echo:1') ->> 'n' AS n, wbcache.get('inv_echo:2') ->> 'n' AS n;

-- A game: its tag, its odds under each status of the feed, its props; nothing of another game.
CREATE TABLE game_key (key text);
INSERT INTO game_key SELECT format('odds:%s:%s', status, id)
  FROM unnest('{unplayed, live, half, completed, cancelled, suspended, delayed, forfeited, invalid, postponed, other}'::text[]) status,
       unnest('{g1, g2, *, g1*, g?}'::text[]) id;
INSERT INTO game_key VALUES ('props:categories:g1'), ('props:categories:g2'), ('odds:live:g1:spread'), ('odds:live:g2:spread'), ('odds:live:*:spread'),
                            ('inv:g1'), ('inv:g2'), ('odds:live:g1:g2');
CREATE FUNCTION of_game(command text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM wbcache.set(key, '1') FROM game_key;
  EXECUTE command;
  RETURN QUERY SELECT key FROM game_key WHERE wbcache.get(key) IS NULL ORDER BY key COLLATE "C";
END $$;
SELECT of_game($$ SELECT wbcache.invalidate_game_cache('g1') $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache('*') $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache('g?') $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache('g1:g2') $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache('g1:spread') $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache(E'g1\n') $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache(repeat('g', 600)) $$);
SELECT of_game($$ SELECT wbcache.invalidate_game_cache(NULL) $$);

-- Again in one transaction: after a rollback to a savepoint, after a set(), after it was released; and in the next transaction.
CALL fill('{odds:live:g1, props:categories:g1}');
BEGIN;
SAVEPOINT a;
SELECT wbcache.invalidate_game_cache('g1');
ROLLBACK TO a;
SELECT wbcache.invalidate_game_cache('g1');
COMMIT;
SELECT key, status FROM unnest('{odds:live:g1, props:categories:g1}'::text[]) key, wbcache.lookup(key);
BEGIN;
SELECT wbcache.invalidate_game_cache('g1'), wbcache.set('odds:live:g1', '1'), wbcache.set('props:categories:g1', '1');
SELECT wbcache.invalidate_game_cache('g1');
COMMIT;
SELECT key, status FROM unnest('{odds:live:g1, props:categories:g1}'::text[]) key, wbcache.lookup(key);
BEGIN;
SELECT wbcache.invalidate_game_cache('g1');
SAVEPOINT a;
SELECT wbcache.invalidate_game_cache('g1');
ROLLBACK TO a;
COMMIT;
SELECT wbcache.set('odds:live:g1', '1');
SELECT wbcache.invalidate_game_cache('g1');
SELECT wbcache.invalidate_game_cache('g1');
SELECT status FROM wbcache.lookup('odds:live:g1');

-- Status: nothing when it is the same; the odds under a status that is not of the feed too.
SELECT of_game($$ SELECT wbcache.invalidate_on_status_change('g1', 'live', 'live') $$);
SELECT of_game($$ SELECT wbcache.invalidate_on_status_change('g1', NULL, NULL) $$);
SELECT count(*) FROM of_game($$ SELECT wbcache.invalidate_on_status_change('g1', 'live', 'half') $$);
SELECT count(*) FROM of_game($$ SELECT wbcache.invalidate_on_status_change('g1', 'other', 'half') $$);
SELECT count(*) FROM of_game($$ SELECT wbcache.invalidate_on_status_change('g1', NULL, 'other') $$);
SELECT old, new, wbcache.invalidate_on_status_change('g1', old, new)
  FROM (VALUES ('live', 'live'), ('live', 'half'), (NULL, 'live'), ('live', NULL), (NULL, NULL), ('', 'live'), ('live', 'LIVE')) v (old, new);

-- Odds: the threshold is in percent, of the price or of the probability.
SELECT old::float8, new::float8, wbcache.invalidate_on_odds_movement('g1', old, new) AS price,
       wbcache.invalidate_on_odds_movement('g1', old, new, by => 'probability') AS probability,
       wbcache.invalidate_on_odds_movement('g1', old, new, 50) AS half
  FROM (VALUES (2.0, 2.2), (2.0, 2.21), (2.0, 1.79), (-110, -110), (-110, -115), (-110, -122), (100, -100), (105, -105), (120, -140), (0, 0), (0, 1e-9),
               (NULL, 2), (2, NULL), (NULL, NULL), (2, 0), ('NaN', 2), ('NaN', 'NaN'), ('inf', 2), (2, '-inf'), (1e308, -1e308)) v (old, new);
SET wbcache.odds_threshold = 0;
SELECT wbcache.invalidate_on_odds_movement('g1', 2, 2), wbcache.invalidate_on_odds_movement('g1', 2, 2.0000001);
SET wbcache.odds_threshold = 300;
SELECT wbcache.invalidate_on_odds_movement('g1', 1, 4), wbcache.invalidate_on_odds_movement('g1', 1, 4.1);
RESET wbcache.odds_threshold;
SELECT count(*) FROM of_game($$ SELECT wbcache.invalidate_on_odds_movement('g1', 2, 2.1) $$);
SELECT count(*) FROM of_game($$ SELECT wbcache.invalidate_on_odds_movement('g1', 2, 3) $$);

-- Sidebars.
CREATE FUNCTION of_sidebar(sport text, league text) RETURNS text LANGUAGE sql AS $$
  SELECT gone(array_agg(key), format('CALL fill(%L); SELECT wbcache.invalidate_sidebar_cache(%L, %L)', array_agg(key), sport, league))
    FROM (SELECT format('sidebar:%s:%s', s, l) FROM unnest('{nfl, nba, all}'::text[]) s, unnest('{east, west, all}'::text[]) l) k (key)
$$;
SELECT of_sidebar('nfl', 'east');
SELECT of_sidebar('nfl', NULL);
SELECT of_sidebar(NULL, 'east');
SELECT of_sidebar(NULL, NULL);
SELECT of_sidebar('nfl', 'east:west');
SELECT of_sidebar('*', '*');

-- Keys registered for a game: what was there is invalid at once, whatever becomes of the transaction; what comes afterwards goes with the game.
CALL fill('{inv:r1, inv:r2}');
BEGIN;
SELECT wbcache.register_cache_key('r', 'inv:r1');
ROLLBACK;
SELECT key, status FROM unnest('{inv:r1, inv:r2}'::text[]) key, wbcache.lookup(key);
CALL fill('{inv:r1}');
SELECT wbcache.register_cache_key('r', 'inv:r1');
SELECT key, status FROM unnest('{inv:r1, inv:r2}'::text[]) key, wbcache.lookup(key);
SELECT wbcache.invalidate_game_cache('r');
SELECT key, status FROM unnest('{inv:r1, inv:r2}'::text[]) key, wbcache.lookup(key);
CALL fill('{inv:r1}');
SELECT wbcache.invalidate_on_status_change('r', 'live', 'completed');
SELECT status FROM wbcache.lookup('inv:r1');
-- An id with a colon or a star, and several games of a key.
SELECT wbcache.register_cache_key('r:*', 'inv:r2'), wbcache.register_cache_key('s', 'inv:r2');
CALL fill('{inv:r1, inv:r2}');
SELECT wbcache.invalidate_game_cache('r:x'), wbcache.invalidate_game_cache('r:');
SELECT status FROM wbcache.lookup('inv:r2');
SELECT wbcache.invalidate_game_cache('r:*');
SELECT key, status FROM unnest('{inv:r1, inv:r2}'::text[]) key, wbcache.lookup(key);
CALL fill('{inv:r2}');
SELECT wbcache.invalidate_game_cache('s');
SELECT status FROM wbcache.lookup('inv:r2');
-- The most tags that a value may carry leave room for its games.
SELECT wbcache.set('inv:r2', '1', tags => array_agg('tag' || i)) FROM generate_series(1, 14) i;
SELECT status FROM wbcache.lookup('inv:r2');
SELECT wbcache.invalidate_game_cache('s');
SELECT status FROM wbcache.lookup('inv:r2');
SELECT wbcache.set('inv:r2', '1', tags => array_agg('tag' || i)) FROM generate_series(1, 15) i;
SELECT wbcache.register_cache_key('m' || i, 'inv:r2') FROM generate_series(1, 6) i;
SELECT wbcache.register_cache_key('m7', 'inv:r2');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.register_cache_key('m6', 'inv:r2');
SELECT wbcache.register_cache_key('', 'inv:r2');
SELECT wbcache.register_cache_key('r', 'inv:');
SELECT wbcache.register_cache_key('r', 'no:such:key');
SELECT wbcache.register_cache_key(NULL, 'inv:r2') IS NULL, wbcache.register_cache_key('r', NULL) IS NULL;

-- Reasons are counted at the commit, and not what was rolled back. One transaction counts a key once.
SELECT wbcache.stat_reset();
CREATE VIEW counted AS SELECT total, keys, tags, patterns, everything AS ev, status_change AS st, odds_movement AS od, cancelled AS ca, postponed AS po,
  manual AS ma, sidebar_refresh AS si FROM wbcache.stat_invalidation;
TABLE counted;
BEGIN;
SELECT wbcache.invalidate('inv:1'), wbcache.invalidate('inv:1', 'CANCELLED'), wbcache.invalidate('inv:2', 'CANCELLED'), wbcache.invalidate('inv:3', NULL);
SAVEPOINT a;
SELECT wbcache.invalidate('inv:4', 'POSTPONED'), wbcache.invalidate_pattern('x', 'POSTPONED'), wbcache.invalidate_tag('y', 'POSTPONED');
ROLLBACK TO a;
TABLE counted;
COMMIT;
TABLE counted;
BEGIN;
SELECT wbcache.invalidate('inv:1', 'ODDS_MOVEMENT');
ROLLBACK;
TABLE counted;
SELECT wbcache.invalidate_tag('inv_tag', 'SIDEBAR_REFRESH'), wbcache.invalidate_tag('inv', 'SIDEBAR_REFRESH'), wbcache.invalidate_pattern('a*', 'STATUS_CHANGE'),
       wbcache.invalidate_own('b', 'POSTPONED'), wbcache.clear(), wbcache.delete('inv:1');
TABLE counted;
SELECT wbcache.invalidate_on_status_change('g1', 'live', 'canceled'), wbcache.invalidate_on_status_change('g2', 'live', 'Postponed'),
       wbcache.invalidate_on_status_change('g3', 'live', 'half'), wbcache.invalidate_on_odds_movement('g4', 1, 2), wbcache.invalidate_sidebar_cache('s', 'l');
TABLE counted;
SELECT per_minute >= total AS rate, threshold, alert FROM wbcache.stat_invalidation;
SELECT wbcache.set('inv:1', '1');
SELECT total = 63 AS set_is_none FROM wbcache.stat_invalidation;

-- Events: in order, each with its name, but those beyond the first 16 of a kind and reason summed up.
SELECT max(number) AS last FROM wbcache.invalidation_events \gset
BEGIN;
SELECT wbcache.invalidate('inv:1', 'CANCELLED'), wbcache.invalidate_tag('tag ä', 'POSTPONED'), wbcache.invalidate_pattern('inv:*x'), wbcache.clear(),
       wbcache.invalidate_own('own');
SELECT count(wbcache.invalidate('inv:' || i, 'ODDS_MOVEMENT')) FROM generate_series(1, 30) i;
SAVEPOINT a;
SELECT wbcache.invalidate('inv:2:2', 'SIDEBAR_REFRESH');
ROLLBACK TO a;
COMMIT;
SELECT number - :last AS n, reason, kind, what, count, at BETWEEN now() - interval '1 min' AND clock_timestamp() AS at FROM wbcache.invalidation_events WHERE number > :last ORDER BY number;
SELECT count(wbcache.invalidate_tag(repeat('ä', 1000))) FROM generate_series(1, 2);
SELECT length(what), octet_length(what) FROM wbcache.invalidation_events ORDER BY number DESC LIMIT 1;
DO $$ BEGIN FOR i IN 1 .. 1100 LOOP PERFORM wbcache.invalidate_tag('loop' || i); COMMIT; END LOOP; END $$;
SELECT count(*), min(what), max(number) - min(number) AS numbers FROM wbcache.invalidation_events;

-- More stripes than a transaction may list: everything.
SELECT wbcache.stat_reset();
CALL fill('{inv:1}');
SELECT count(wbcache.invalidate_tag('many' || i, 'STATUS_CHANGE')) FROM generate_series(1, 110000) i;
SELECT tags BETWEEN 90000 AND 100000 AS tags, everything, status_change = tags + everything AS sum, alert FROM wbcache.stat_invalidation;
SELECT status FROM wbcache.lookup('inv:1');
SELECT kind, what, count > 1 AS many FROM wbcache.invalidation_events ORDER BY number DESC LIMIT 2;

-- Bad input.
SELECT wbcache.invalidate_pattern('');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.invalidate_pattern(repeat('x', 513));
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.invalidate_pattern('inv:\');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.invalidate_pattern('inv:\\\');
SELECT wbcache.invalidate_pattern(repeat('*', 512)), wbcache.invalidate_pattern(repeat('*a', 256)), wbcache.invalidate_pattern(E'a\tb\n');
SELECT wbcache.invalidate_pattern(NULL) IS NULL, wbcache.invalidate(NULL) IS NULL, wbcache.invalidate_tag(NULL) IS NULL, wbcache.invalidate_own(NULL) IS NULL,
       wbcache.invalidate_on_status_change(NULL, 'a', 'b') IS NULL, wbcache.invalidate_on_odds_movement(NULL, 1, 2) IS NULL;
SELECT wbcache.invalidate('inv:1', 'WHATEVER');
SELECT wbcache.invalidate_game_cache('');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.invalidate_on_status_change('', 'a', 'b');
SELECT wbcache.invalidate_on_odds_movement('', 1, 2);
SELECT wbcache.invalidate_on_odds_movement('g1', 1, 2, -1);
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.invalidate_on_odds_movement('g1', 1, 2, 'NaN');
SELECT wbcache.invalidate_on_odds_movement('g1', 1, 2, by => 'decimal');
\echo :LAST_ERROR_SQLSTATE
SET wbcache.odds_threshold = -1;
SET wbcache.notify_channel = 'x';
BEGIN;
SELECT wbcache.invalidate_pattern('inv:*');
PREPARE TRANSACTION 'inv';
BEGIN;
SELECT wbcache.invalidate_on_status_change('g1', 'live', 'half');
PREPARE TRANSACTION 'inv';
BEGIN;
SELECT wbcache.invalidate_on_status_change('g1', 'live', 'live');
PREPARE TRANSACTION 'inv';
ROLLBACK PREPARED 'inv';

-- Who may: writers a key, those who were granted it the rest.
CREATE ROLE regress_inv;
SELECT wbcache.alter_endpoint('inv', readers => '{regress_inv}');
SET ROLE regress_inv;
SELECT wbcache.invalidate_pattern('inv:*');
SELECT wbcache.invalidate_game_cache('g1');
SELECT wbcache.invalidate_sidebar_cache();
SELECT wbcache.invalidate_on_status_change('g1', 'a', 'b');
SELECT wbcache.invalidate_on_odds_movement('g1', 1, 2);
SELECT wbcache.register_cache_key('g1', 'inv:1');
SELECT wbcache.invalidate('inv:1');
SELECT * FROM wbcache.stat_invalidation;
SELECT * FROM wbcache.invalidation_events;
RESET ROLE;
SELECT wbcache.alter_endpoint('inv', writers => '{regress_inv}');
GRANT EXECUTE ON FUNCTION wbcache.invalidate_pattern TO regress_inv;
SET ROLE regress_inv;
SELECT wbcache.register_cache_key('g1', 'inv:1'), wbcache.invalidate_pattern('inv:*');
RESET ROLE;

SELECT wbcache.drop_endpoint(name) FROM unnest('{inv, inv_deep, inv_echo, odds, market, props, sidebar}'::name[]) name;
DROP FUNCTION globbed, of_game, of_sidebar, gone, inv_load;
DROP PROCEDURE fill;
DROP VIEW counted;
DROP TABLE globbed, glob, game_key;
REVOKE ALL ON FUNCTION wbcache.invalidate_pattern FROM regress_inv;
DROP ROLE regress_inv;
