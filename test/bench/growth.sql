-- What growth.sh refreshes: an endpoint without a source, and values of any size that don't compress well.
CREATE EXTENSION wbcache;
SELECT wbcache.create_endpoint('growth', pattern => 'growth:{id}', soft_ttl => '10 hours', hard_ttl => '20 hours');

CREATE FUNCTION refresh(id int, bytes int) RETURNS void LANGUAGE sql VOLATILE
RETURN wbcache.set('growth:' || id,
  to_json((SELECT left(string_agg(md5(id::text || i || clock_timestamp()), ''), bytes) FROM generate_series(1, bytes / 32 + 1) i)));

-- Every key once, no faster than it is written: memory doesn't hold them all.
CREATE PROCEDURE fill(keys int, bytes int) LANGUAGE plpgsql AS $$
BEGIN
  FOR id_from IN 1 .. keys BY 500 LOOP
    PERFORM refresh(id, bytes) FROM generate_series(id_from, least(id_from + 499, keys)) id;
    COMMIT;
    FOR i IN 1 .. 1000 LOOP
      EXIT WHEN (SELECT count(*) FROM wbcache.entry) >= least(id_from + 499, keys) * 0.99;
      PERFORM pg_sleep(0.01);
      COMMIT;
    END LOOP;
  END LOOP;
END $$;

-- Microseconds a read takes: of three statements that of the middle.
CREATE FUNCTION read_us(keys int) RETURNS numeric LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  started timestamptz;
  us float8[];
BEGIN
  FOR i IN 1 .. 3 LOOP
    started := clock_timestamp();
    PERFORM count(wbcache.get('growth:' || 1 + floor(random() * keys)::int)) FROM generate_series(1, 20000);
    us := us || extract(epoch FROM clock_timestamp() - started)::float8 * 1000000 / 20000;
  END LOOP;
  RETURN round((SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY u) FROM unnest(us) u)::numeric, 2);
END $$;
