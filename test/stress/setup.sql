-- The database of the stress test, besides the extension and the foreign server "api". Keys are named kind:group:number.

CREATE SCHEMA stress;

CREATE TABLE stress.version (id int PRIMARY KEY, kind text, quiet boolean, v bigint, token bigint) WITH (fillfactor = 10);
INSERT INTO stress.version
  SELECT 5 * (k - 1) + i, kind, i = 4, CASE kind WHEN 'http' THEN 0 ELSE 1 END, 0
    FROM unnest(ARRAY['fast', 'slow', 'set', 'private', 'http', 'trigger']) WITH ORDINALITY AS a (kind, k), generate_series(0, 4) i;

-- Whoever inserts a second row fails in the commit.
CREATE TABLE stress.once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO stress.once VALUES (1);

-- Calls of each key's loader in loader processes: what runs in a client's own transaction doesn't count.
SELECT format('CREATE SEQUENCE stress.loads_%s', id) FROM stress.version \gexec
CREATE FUNCTION stress.count_load(id text) RETURNS void LANGUAGE sql AS $$
  SELECT nextval(('stress.loads_' || id)::regclass) WHERE current_setting('stress.client', true) IS NULL
$$;

CREATE FUNCTION stress.load(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  mine text := parts[array_upper(parts, 1)];
BEGIN
  PERFORM stress.count_load(mine);
  RETURN (SELECT json_build_object('v', v, 'token', token) FROM stress.version WHERE id = mine::int);
END $$;

CREATE FUNCTION stress.load_slowly(parts text[]) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  value json := stress.load(parts);
BEGIN
  PERFORM pg_sleep(0.02 * random());
  RETURN value;
END $$;

SELECT wbcache.create_endpoint('fast', 'fast:{group}:{id}', loader => 'stress.load(text[])', soft_ttl => '1 h',
                               tags => ARRAY['stress:{group}']),
       wbcache.create_endpoint('slow', 'slow:{group}:{id}', loader => 'stress.load_slowly(text[])', soft_ttl => '1 h',
                               tags => ARRAY['stress:{group}']),
       wbcache.create_endpoint('set', 'set:{group}:{id}', soft_ttl => '1 h', tags => ARRAY['stress:{group}']),
       wbcache.create_endpoint('http', 'http:{group}:{id}', 'api', '/echo/stress/{id}', soft_ttl => '1 h',
                               tags => ARRAY['stress:{group}']),
       wbcache.create_endpoint('trigger', 'trigger:{group}:{id}', loader => 'stress.load(text[])', soft_ttl => '1 h',
                               tags => ARRAY['stress:{group}', 'game:{id}']);

-- Any new version is a movement; the keys of no other kind carry the tag.
SELECT wbcache.watch_odds('stress.version', 'id', 'v', 0);
