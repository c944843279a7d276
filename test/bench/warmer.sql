-- The day of warmer.sh: variables tsv, t0 (wall clock at the day's begin), g0 (the day's begin), scale, port, key.
CREATE EXTENSION wbcache;
CREATE SERVER api FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://127.0.0.1:0/api/v3', rate_limit '2500/15s');
SELECT format('ALTER SERVER api OPTIONS (SET base_url %L, SET rate_limit %L)', 'http://127.0.0.1:' || :'port' || '/api/v3',
              '2500/' || (15000.0 / :scale)::int || 'ms') \gexec
SELECT format('CREATE USER MAPPING FOR PUBLIC SERVER api OPTIONS (header %L)', 'X-Api-Key: ' || :'key') \gexec

CREATE TABLE game (id text PRIMARY KEY, sport text, league text, starts timestamptz, half int, second_half int, length int);
\copy game FROM pstdin
CREATE TABLE event AS SELECT id, sport, league, 'unplayed' AS status,
  :'t0'::timestamptz + (starts - :'g0'::timestamptz) / :scale AS starts FROM game;
ALTER TABLE event ADD PRIMARY KEY (id);
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.preset_optic_odds('api'), wbcache.unschedule_task('sidebar_refresh');
SELECT wbcache.alter_endpoint('props_categories', soft_ttl => interval '10 min' / :scale, hard_ttl => interval '20 min' / :scale, error_ttl => '10 ms'),
       wbcache.alter_endpoint('props', soft_ttl => interval '2 min' / :scale, hard_ttl => interval '4 min' / :scale, error_ttl => '10 ms');
SELECT wbcache.schedule_task('warmer', greatest(interval '5 min' / :scale, '1 s'), 'wbcache.warm_upcoming()');

-- When a game's status changes, on the wall clock.
CREATE TABLE step AS
  SELECT :'t0'::timestamptz + (starts + minutes * interval '1 min' - :'g0'::timestamptz) / :scale AS at, id, status
    FROM game, LATERAL (VALUES (0, 'live'), (half, 'half'), (second_half, 'live'), (length, 'completed')) s (minutes, status);
CREATE UNLOGGED TABLE seen (at timestamptz, key text, status text, ms real);

-- What was no hit, with the last change of the game's status before it, if there was one.
CREATE VIEW no_hit AS
  SELECT seen.at, key, seen.status, ms, change.at AS changed_at, change.status AS changed_to
    FROM seen LEFT JOIN LATERAL (
      SELECT step.at, step.status FROM step
        WHERE step.at <= seen.at AND step.id = CASE WHEN key LIKE 'props:categories:%' THEN split_part(key, ':', 3) ELSE split_part(key, ':', 2) END
        ORDER BY step.at DESC LIMIT 1) change ON true
    WHERE seen.status <> 'hit';

CREATE PROCEDURE play(until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  s record;
BEGIN
  FOR s IN SELECT * FROM step WHERE at < until ORDER BY at LOOP
    PERFORM pg_sleep(greatest(extract(epoch FROM s.at - clock_timestamp()), 0));
    UPDATE event SET status = s.status WHERE id = s.id;
    COMMIT;
  END LOOP;
END $$;

-- One reader: in each period he asks once for the categories of every game, from an hour before its kick-off to its end, and
-- for the props of their top categories. The periods are filled evenly.
CREATE PROCEDURE read_day(until timestamptz, hour interval, period interval) LANGUAGE plpgsql AS $$
DECLARE
  g record;
  k text;
  value json;
  began timestamptz;
BEGIN
  WHILE clock_timestamp() < until LOOP
    began := clock_timestamp();
    FOR g IN SELECT e.id FROM event e JOIN step s ON s.id = e.id AND s.status = 'completed'
        WHERE e.starts - hour <= clock_timestamp() AND s.at > clock_timestamp() AND e.status <> 'completed' LOOP
      value := look('props:categories:' || g.id);
      COMMIT;
      FOR k IN SELECT format('props:%s:%s:%s', g.id, category, book)
          FROM wbcache.top_categories(value, 5), (VALUES ('draftkings'), ('fanduel')) b (book) WHERE category IS NOT NULL LOOP
        value := look(k);
        COMMIT;
      END LOOP;
    END LOOP;
    PERFORM pg_sleep(greatest(extract(epoch FROM began + period - clock_timestamp()), 0));
    COMMIT;
  END LOOP;
END $$;

CREATE FUNCTION look(wanted text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  began timestamptz := clock_timestamp();
  answer record;
  ms real;
BEGIN
  SELECT * INTO answer FROM wbcache.lookup(wanted);
  ms := extract(epoch FROM clock_timestamp() - began) * 1000;
  INSERT INTO seen VALUES (began, wanted, answer.status, ms);
  RETURN answer.value;
EXCEPTION WHEN OTHERS THEN
  INSERT INTO seen VALUES (began, wanted, 'error ' || SQLSTATE, extract(epoch FROM clock_timestamp() - began) * 1000);
  RETURN NULL;
END $$;
