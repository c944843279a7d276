-- What the measurements of updates need: a table of odds as an application has it, and a clock around a statement.
CREATE EXTENSION wbcache;

CREATE FUNCTION fill_odds(fillfactor int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DROP TABLE IF EXISTS odds;
  EXECUTE format('CREATE TABLE odds (id bigint, game_id text NOT NULL, market text NOT NULL, selection text NOT NULL,
    sportsbook text NOT NULL, price numeric NOT NULL, line numeric, updated_at timestamptz NOT NULL) WITH (fillfactor = %s)',
    fillfactor);
  INSERT INTO odds
    SELECT i, 'nfl-2021-' || i % 1000, 'player_passing_yards', 'selection ' || i % 100, 'book ' || i % 20,
           1.5 + (i % 500) / 100.0, i % 300 + 0.5, now()
      FROM generate_series(1, 100000) i;
  ALTER TABLE odds ADD PRIMARY KEY (id);
  CREATE INDEX ON odds (game_id);
END $$;

-- In milliseconds.
CREATE FUNCTION timed(statement text) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
BEGIN
  EXECUTE statement;
  RETURN extract(epoch FROM clock_timestamp() - started) * 1000;
END $$;
