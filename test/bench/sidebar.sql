-- 100,000 events of 50 sports and 2,000 leagues: a tenth is over, one in a hundred is live, the others start within 60 days.
CREATE EXTENSION wbcache;
CREATE TABLE event (id int PRIMARY KEY, sport text NOT NULL, league text, status text, starts timestamptz, home text, away text);
INSERT INTO event
  SELECT n, 's' || n % 50, 'l' || n % 2000,
         CASE WHEN n % 10 = 3 THEN 'completed' WHEN n % 100 = 7 THEN 'live' ELSE 'unplayed' END,
         date_trunc('minute', now()) + (n % 86400 + 1) * interval '1 min', 'Team ' || n, 'Team ' || n + 1
    FROM generate_series(1, 100000) n;
CREATE INDEX ON event (sport, league);
VACUUM ANALYZE event;
BEGIN;
SELECT wbcache.bind_events('event', 'id', 'sport', 'league', 'status', 'starts');
SELECT wbcache.unschedule_task('sidebar_refresh');
COMMIT;
SELECT wbcache.refresh_sidebar_data();

-- Milliseconds from the commit of a change of status until a reader who asks at once has it, while nothing is refreshed.
CREATE PROCEDURE changes(n int) LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz;
  seen int;
  before int;
BEGIN
  CREATE TEMP TABLE shown (whole boolean, ms numeric);
  FOR i IN 1 .. n LOOP
    FOR whole IN 0 .. 1 LOOP
      before := wbcache.get_sidebar(CASE whole WHEN 0 THEN 's1' END) #>> '{sports,0,live_games}';
      UPDATE event SET status = CASE status WHEN 'live' THEN 'half' WHEN 'half' THEN 'completed' ELSE 'live' END WHERE id = 1 + 50 * i;
      COMMIT;
      started := clock_timestamp();
      seen := wbcache.get_sidebar(CASE whole WHEN 0 THEN 's1' END) #>> '{sports,0,live_games}';
      INSERT INTO shown VALUES (whole = 1, extract(epoch FROM clock_timestamp() - started) * 1000);
      COMMIT;
    END LOOP;
  END LOOP;
END $$;
