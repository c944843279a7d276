-- Writing: set, delete, invalidate, invalidate_tag and clear take effect with the commit, or not at all.
SELECT wbcache.create_endpoint('set', 'set:{id}', soft_ttl => '1 h', tags => ARRAY['group:{id}']);
SELECT wbcache.create_endpoint('set_expire', 'set_expire:{id}', soft_ttl => '1 h', tags => '{set_tag}', on_invalidate => 'expire');
SELECT wbcache.create_endpoint('set_echo', 'set_echo:{id}', 'test_upstream', '/echo/set/{id}', soft_ttl => '1 h');
SELECT wbcache.create_endpoint('set_echo_expire', 'set_echo_expire:{id}', 'test_upstream', '/echo/set_expire/{id}',
                               soft_ttl => '1 h', on_invalidate => 'expire');

-- What was set and committed is there.
SELECT wbcache.get('set:1');
SELECT wbcache.set('set:1', '"one"');
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.set('set:1', '"two"');
SELECT value, status FROM wbcache.lookup('set:1');

-- Until the commit only the transaction itself sees it; after a rollback nobody.
BEGIN;
SELECT wbcache.set('set:1', '"three"');
SELECT value, status, ttl, detail FROM wbcache.lookup('set:1');
SELECT value FROM wbcache.get_many('{set:1, set:1}');
ROLLBACK;
SELECT value, status FROM wbcache.lookup('set:1');
BEGIN;
SELECT wbcache.set('set:1', '"three"');
SELECT wbcache.set('set:1', '"four"');
SELECT wbcache.get('set:1');
COMMIT;
SELECT value, status FROM wbcache.lookup('set:1');

-- A value set over what an upstream gave.
SELECT wbcache.get('set_echo:1') ->> 'n' AS n;
SELECT wbcache.set('set_echo:1', '"mine"');
SELECT value, status FROM wbcache.lookup('set_echo:1');

-- invalidate: a rolled back one changes nothing, a committed one takes the value away.
BEGIN;
SELECT wbcache.invalidate('set:1');
SELECT value, status, detail FROM wbcache.lookup('set:1');
ROLLBACK;
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.invalidate('set:1');
SELECT value, status FROM wbcache.lookup('set:1');

-- The transaction that has invalidated a key gets a new value from the upstream each time; after a rollback the cache is
-- believed again.
SELECT wbcache.get('set_echo:2') ->> 'n' AS n;
BEGIN;
SELECT wbcache.invalidate('set_echo:2');
SELECT value ->> 'n' AS n, status, regexp_replace(detail, '[0-9.]+', 'N') AS detail FROM wbcache.lookup('set_echo:2');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:2');
ROLLBACK;
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:2');
BEGIN;
SELECT wbcache.invalidate('set_echo:2');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:2');
COMMIT;
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:2');

-- delete.
SELECT wbcache.set('set:1', '"one"');
BEGIN;
SELECT wbcache.delete('set:1');
SELECT value, status FROM wbcache.lookup('set:1');
ROLLBACK;
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.delete('set:1');
SELECT value, status FROM wbcache.lookup('set:1');

-- Tags: those of the endpoint and those given to set; each value by its own.
SELECT wbcache.set('set:1', '"one"', tags => '{red, blue}');
SELECT wbcache.set('set:2', '"two"', tags => '{blue, NULL, blue}');
SELECT wbcache.set('set:3', '"three"');
SELECT wbcache.invalidate_tag('green');
SELECT wbcache.invalidate_tag('set:1');
SELECT * FROM wbcache.get_many('{set:1, set:2, set:3}');
SELECT wbcache.invalidate_tag('red');
SELECT * FROM wbcache.get_many('{set:1, set:2, set:3}');
SELECT wbcache.invalidate_tag('group:3');
SELECT * FROM wbcache.get_many('{set:1, set:2, set:3}');
BEGIN;
SELECT wbcache.invalidate_tag('blue');
SELECT value, status FROM wbcache.lookup('set:2');
ROLLBACK;
SELECT value, status FROM wbcache.lookup('set:2');
SELECT wbcache.invalidate_tag('blue');
SELECT * FROM wbcache.get_many('{set:1, set:2, set:3}');

-- clear.
SELECT wbcache.set('set:1', '"one"'), wbcache.set('set_expire:1', '"one"', tags => '{red}');
BEGIN;
SELECT wbcache.clear();
SELECT value, status FROM wbcache.lookup('set:1');
ROLLBACK;
SELECT * FROM wbcache.get_many('{set:1, set_expire:1}');
SELECT wbcache.clear();
SELECT value, status FROM wbcache.lookup('set:1');
SELECT value, status FROM wbcache.lookup('set_expire:1');

-- A value survives what its own transaction invalidated before it was set, and not what came after.
CREATE PROCEDURE set_in_order(VARIADIC steps text[]) LANGUAGE plpgsql AS $$
DECLARE
  step text;
  inside text;
  n int := 0;
BEGIN
  PERFORM wbcache.set('set:order', '"before"');
  COMMIT;
  FOREACH step IN ARRAY steps LOOP
    n := n + 1;
    CASE step
      WHEN 'set' THEN PERFORM wbcache.set('set:order', to_json(n), tags => '{set_order}');
      WHEN 'invalidate' THEN PERFORM wbcache.invalidate('set:order');
      WHEN 'delete' THEN PERFORM wbcache.delete('set:order');
      WHEN 'tag' THEN PERFORM wbcache.invalidate_tag('set_order');
      WHEN 'tag of endpoint' THEN PERFORM wbcache.invalidate_tag('group:order');
      WHEN 'clear' THEN PERFORM wbcache.clear();
      WHEN 'other' THEN PERFORM wbcache.invalidate('set:other'), wbcache.set('set:another', '1');
    END CASE;
  END LOOP;
  inside := wbcache.get('set:order');
  COMMIT;
  RAISE NOTICE '%: inside %, after the commit %', array_to_string(steps, ', '), inside, wbcache.get('set:order');
END $$;
CALL set_in_order('other');
CALL set_in_order('set');
CALL set_in_order('set', 'set');
CALL set_in_order('set', 'other');
CALL set_in_order('invalidate', 'set');
CALL set_in_order('delete', 'set');
CALL set_in_order('tag', 'set');
CALL set_in_order('tag of endpoint', 'set');
CALL set_in_order('clear', 'set');
CALL set_in_order('set', 'invalidate');
CALL set_in_order('set', 'delete');
CALL set_in_order('set', 'tag');
CALL set_in_order('set', 'tag of endpoint');
CALL set_in_order('set', 'clear');
CALL set_in_order('invalidate', 'set', 'invalidate');
CALL set_in_order('set', 'invalidate', 'set');
CALL set_in_order('tag', 'set', 'tag');
CALL set_in_order('set', 'tag', 'set');
CALL set_in_order('clear', 'set', 'clear');
CALL set_in_order('set', 'clear', 'set');
CALL set_in_order('set', 'delete', 'set', 'other', 'tag', 'tag', 'set', 'other');
DROP PROCEDURE set_in_order;

-- Savepoints: what is rolled back was never done, what is released counts with what is around it.
SELECT wbcache.set('set:a', '"a0"'), wbcache.set('set:b', '"b0"'), wbcache.set('set:c', '"c0"'), wbcache.set('set:d', '"d0"');
BEGIN;
SELECT wbcache.set('set:a', '"a1"');
SAVEPOINT one;
SELECT wbcache.set('set:a', '"a2"');
SELECT wbcache.invalidate('set:b');
SAVEPOINT two;
SELECT wbcache.set('set:a', '"a3"');
SELECT wbcache.delete('set:c');
SELECT wbcache.invalidate_tag('group:d');
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c, set:d}');
ROLLBACK TO two;
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c, set:d}');
ROLLBACK TO one;
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c, set:d}');
SELECT wbcache.set('set:d', '"d1"');
SAVEPOINT two;
SELECT wbcache.delete('set:c');
RELEASE two;
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c, set:d}');
RELEASE one;
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c, set:d}');
COMMIT;
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c, set:d}');

-- Released into what is rolled back.
BEGIN;
SAVEPOINT one;
SAVEPOINT two;
SELECT wbcache.set('set:a', '"a4"'), wbcache.invalidate('set:b');
RELEASE two;
SELECT * FROM wbcache.get_many('{set:a, set:b}');
ROLLBACK TO one;
SELECT * FROM wbcache.get_many('{set:a, set:b}');
COMMIT;
SELECT * FROM wbcache.get_many('{set:a, set:b}');

-- A set that is cut off gives way to the one before it; an invalidation that is cut off brings its value back.
BEGIN;
SELECT wbcache.set('set:a', '"a5"');
SAVEPOINT one;
SELECT wbcache.set('set:a', '"a6"');
SELECT wbcache.invalidate('set:a');
SELECT wbcache.get('set:a');
ROLLBACK TO one;
SELECT wbcache.get('set:a');
SELECT wbcache.invalidate_tag('group:a');
ROLLBACK TO one;
SELECT wbcache.get('set:a');
COMMIT;
SELECT value, status FROM wbcache.lookup('set:a');

-- The same key invalidated on both sides of a savepoint stays invalidated.
BEGIN;
SELECT wbcache.invalidate('set:a');
SAVEPOINT one;
SELECT wbcache.invalidate('set:a');
ROLLBACK TO one;
COMMIT;
SELECT value, status FROM wbcache.lookup('set:a');

-- Exception blocks are savepoints.
SELECT wbcache.set('set:a', '"a0"'), wbcache.set('set:b', '"b0"');
DO $$
BEGIN
  BEGIN
    PERFORM wbcache.set('set:a', '"a1"'), wbcache.invalidate('set:b');
    PERFORM 1 / 0;
  EXCEPTION
    WHEN division_by_zero THEN RAISE NOTICE '% %', wbcache.get('set:a'), wbcache.get('set:b');
  END;
  BEGIN
    PERFORM wbcache.set('set:a', '"a2"');
  EXCEPTION
    WHEN division_by_zero THEN NULL;
  END;
END $$;
SELECT * FROM wbcache.get_many('{set:a, set:b}');

-- An error ends it all.
BEGIN;
SELECT wbcache.set('set:a', '"a3"'), wbcache.invalidate('set:b');
SELECT 1 / 0;
COMMIT;
SELECT * FROM wbcache.get_many('{set:a, set:b}');

-- Triggers, deferred ones too: the invalidation commits with the data.
CREATE TABLE set_data (id text PRIMARY KEY);
CREATE FUNCTION set_data_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM wbcache.invalidate('set:' || NEW.id);
  RETURN NULL;
END $$;
CREATE TRIGGER now AFTER INSERT ON set_data FOR EACH ROW EXECUTE FUNCTION set_data_changed();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON set_data DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION set_data_changed();
INSERT INTO set_data VALUES ('a');
SELECT * FROM wbcache.get_many('{set:a, set:b}');
BEGIN;
UPDATE set_data SET id = 'b';
SELECT value, status FROM wbcache.lookup('set:b');
COMMIT;
SELECT value, status FROM wbcache.lookup('set:b');
DROP TABLE set_data;
DROP FUNCTION set_data_changed;

-- Several transactions in one procedure, and one after the other in a chain.
SELECT wbcache.set('set:a', '"a0"'), wbcache.set('set:b', '"b0"');
DO $$
BEGIN
  PERFORM wbcache.set('set:a', '"a1"');
  COMMIT;
  RAISE NOTICE '%', (SELECT status FROM wbcache.lookup('set:a'));
  PERFORM wbcache.set('set:b', '"b1"');
  ROLLBACK;
  PERFORM wbcache.set('set:c', '"c1"');
END $$;
SELECT * FROM wbcache.get_many('{set:a, set:b, set:c}');
BEGIN;
SELECT wbcache.set('set:a', '"a2"');
COMMIT AND CHAIN;
SELECT value, status FROM wbcache.lookup('set:a');
SELECT wbcache.set('set:a', '"a3"');
ROLLBACK AND CHAIN;
SELECT value, status FROM wbcache.lookup('set:a');
COMMIT;

-- In a READ ONLY transaction too: the cache is no table.
BEGIN READ ONLY;
SELECT wbcache.set('set:a', '"a4"'), wbcache.invalidate('set:b');
COMMIT;
SELECT * FROM wbcache.get_many('{set:a, set:b}');

-- TTLs: the endpoint's, or those given. A soft TTL above the endpoint's hard TTL raises the latter.
SELECT wbcache.set('set:ttl', '1');
SELECT status, ttl > '59 min' AND ttl <= '1 h' AS ttl FROM wbcache.lookup('set:ttl');
SELECT wbcache.set('set:ttl', '1', soft_ttl => '1 day');
SELECT status, ttl > '23 h' AND ttl <= '24 h' AS ttl FROM wbcache.lookup('set:ttl');
SELECT wbcache.set('set:ttl', '1', soft_ttl => '10 min', hard_ttl => '10 min');
SELECT status, ttl > '9 min' AND ttl <= '10 min' AS ttl FROM wbcache.lookup('set:ttl');
SELECT wbcache.set('set:ttl', '1', hard_ttl => '3 h');
SELECT status, ttl > '59 min' AND ttl <= '1 h' AS ttl FROM wbcache.lookup('set:ttl');
SELECT wbcache.set('set:ttl', '1', soft_ttl => '1 microsecond');
SELECT value, status, ttl < '0' AS ttl, detail FROM wbcache.lookup('set:ttl');
SELECT wbcache.set('set:ttl', '1', soft_ttl => '1 microsecond', hard_ttl => '1 microsecond');
SELECT value, status FROM wbcache.lookup('set:ttl');
BEGIN;
SELECT wbcache.set('set:ttl', '1', soft_ttl => '90 s', hard_ttl => NULL, tags => NULL);
SELECT status, ttl FROM wbcache.lookup('set:ttl');
ROLLBACK;

-- They run from the commit.
BEGIN;
SELECT wbcache.set('set:ttl', '1', soft_ttl => '1 h');
SELECT clock_timestamp() AS before_commit \gset
COMMIT;
SELECT status, clock_timestamp() - age >= :'before_commit' AS from_commit FROM wbcache.lookup('set:ttl');

-- JSON is kept byte for byte.
CREATE TABLE set_json (id int, value json);
INSERT INTO set_json VALUES
  (1, '{}'), (2, 'null'), (3, 'true'), (4, '""'), (5, E' \t\r\n{"a" :  [ 1 ,2\n]  } '), (6, '{"a": 1, "a": 2, "b": 1}'),
  (7, '[1.00, 1e5, -0, 0.10E-2, 123456789012345678901234567890]'), (8, '"äöü€😀"'), (9, '"\u00e4\ud83d\ude00 \" \\ \/ \b\f\n\r\t"'),
  (10, to_json(repeat('ab ', 1000000))), (11, (SELECT json_agg(i) FROM generate_series(1, 10000) i));
SELECT count(wbcache.set('set:json' || id, value)) FROM set_json;
SELECT id FROM set_json WHERE wbcache.get('set:json' || id)::text IS DISTINCT FROM value::text;
SELECT wbcache.get('set:json2') IS NULL AS is_null, wbcache.get('set:json2')::text AS text;
BEGIN;
SELECT count(wbcache.set('set:json_inside' || id, value)) FROM set_json;
SELECT id FROM set_json WHERE wbcache.get('set:json_inside' || id)::text IS DISTINCT FROM value::text;
COMMIT;
SELECT id FROM set_json WHERE wbcache.get('set:json_inside' || id)::text IS DISTINCT FROM value::text;
DROP TABLE set_json;

-- on_invalidate => 'expire': an invalidated value is stale, a deleted one is gone.
SELECT wbcache.set('set_expire:1', '"old"');
SELECT wbcache.invalidate('set_expire:1');
SELECT value, status, ttl > '0' AS ttl FROM wbcache.lookup('set_expire:1');
SELECT wbcache.set('set_expire:1', '"new"');
SELECT value, status FROM wbcache.lookup('set_expire:1');
SELECT wbcache.invalidate_tag('set_tag');
SELECT value, status FROM wbcache.lookup('set_expire:1');
SELECT wbcache.delete('set_expire:1');
SELECT value, status FROM wbcache.lookup('set_expire:1');
SELECT wbcache.set('set_expire:1', '"old"');
BEGIN;
SELECT wbcache.invalidate('set_expire:1');
SELECT value, status FROM wbcache.lookup('set_expire:1');
COMMIT;
SELECT value, status FROM wbcache.lookup('set_expire:1');

-- With an upstream it is refreshed.
SELECT wbcache.get('set_echo_expire:1') ->> 'n' AS n;
SELECT wbcache.invalidate('set_echo_expire:1');
SELECT value ->> 'n' AS n, status, detail FROM wbcache.lookup('set_echo_expire:1');
SELECT test.wait_until($$ (SELECT status = 'hit' FROM wbcache.lookup('set_echo_expire:1')) $$);
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo_expire:1');
SELECT wbcache.delete('set_echo_expire:1');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo_expire:1');

-- An endpoint that is altered, dropped or made anew has none of its old values; in a transaction that is rolled back it
-- keeps them.
SELECT wbcache.set('set:1', '"one"'), wbcache.set('set_expire:1', '"one"');
BEGIN;
SELECT wbcache.alter_endpoint('set', soft_ttl => '2 min');
SELECT value, status FROM wbcache.lookup('set:1');
ROLLBACK;
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.alter_endpoint('set', soft_ttl => '2 min');
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.set('set:1', '"one"');
SELECT wbcache.drop_endpoint('set');
SELECT wbcache.get('set:1');
SELECT wbcache.create_endpoint('set', 'set:{id}', soft_ttl => '1 h', tags => ARRAY['group:{id}']);
SELECT value, status FROM wbcache.lookup('set:1');
BEGIN;
SELECT wbcache.set('set:1', '"one"');
SELECT wbcache.alter_endpoint('set', soft_ttl => '2 min');
COMMIT;
SELECT value, status FROM wbcache.lookup('set:1');
BEGIN;
SELECT wbcache.alter_endpoint('set', soft_ttl => '1 h');
SELECT wbcache.set('set:1', '"one"');
COMMIT;
SELECT value, status, ttl > '59 min' AS ttl FROM wbcache.lookup('set:1');

-- A more literal endpoint takes its keys over, and gives them back; neither serves the other's values.
SELECT wbcache.set('set:2', '"two"');
SELECT wbcache.create_endpoint('set_literal', 'set:1');
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.set('set:1', '"literal"');
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.drop_endpoint('set_literal');
SELECT value, status FROM wbcache.lookup('set:1');

-- Within the transaction as well.
SELECT wbcache.set('set:1', '"one"');
BEGIN;
SELECT wbcache.create_endpoint('set_literal', 'set:1');
SELECT value, status FROM wbcache.lookup('set:1');
ROLLBACK;
SELECT value, status FROM wbcache.lookup('set:1');

-- What an upstream would be asked for is another matter: an endpoint's definition counts when it is committed. What was
-- set can be read.
BEGIN;
SELECT wbcache.create_endpoint('set_new', 'set_new:{id}', 'test_upstream', '/echo/set_new/{id}');
SAVEPOINT one;
SELECT wbcache.get('set_new:1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
SELECT wbcache.set('set_new:2', '"set"');
SELECT key, value, error FROM wbcache.get_many('{set_new:1, set_new:2, set:1}');
SELECT wbcache.alter_endpoint('set_echo', path => '/echo/set_altered/{id}');
SELECT key, value, error FROM wbcache.get_many('{set_echo:1, set_echo:2}');
ROLLBACK TO one;
SELECT key, value ->> 'path' AS path, error FROM wbcache.get_many('{set_new:2, set_echo:2}');
COMMIT;
SELECT value ->> 'path' AS path, status FROM wbcache.lookup('set_new:1');
SELECT wbcache.drop_endpoint('set_new');

-- More invalidations than a transaction may list: everything is invalidated instead, and all goes on working.
SELECT wbcache.set('set:1', '"one"'), wbcache.set('set:150000', '"last"'), wbcache.set('set_echo:3', '"other"');
BEGIN;
SAVEPOINT one;
SELECT count(*) FROM (SELECT wbcache.invalidate('set:' || i) FROM generate_series(1, 150000) i OFFSET 0) s;
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:3');
ROLLBACK TO one;
SELECT status FROM wbcache.lookup('set:150000');
COMMIT;
SELECT wbcache.set('set_echo:3', '"other"');
SELECT * FROM wbcache.get_many('{set:1, set:150000, set_echo:3}');
BEGIN;
SELECT count(*) FROM (SELECT wbcache.invalidate('set:' || i) FROM generate_series(1, 150000) i OFFSET 0) s;
SELECT wbcache.set('set:1', '"set after"');
SELECT * FROM wbcache.get_many('{set:1, set:150000}');
ROLLBACK;
SELECT * FROM wbcache.get_many('{set:1, set:150000, set_echo:3}');
BEGIN;
SELECT count(*) FROM (SELECT wbcache.invalidate('set:' || i) FROM generate_series(1, 150000) i OFFSET 0) s;
SELECT wbcache.set('set:1', '"set after"');
COMMIT;
SELECT * FROM wbcache.get_many('{set:1, set:150000}');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:3');
SELECT value ->> 'n' AS n, status FROM wbcache.lookup('set_echo:3');
BEGIN;
SELECT wbcache.set('set:1', '"set before"');
SELECT count(*) FROM (SELECT wbcache.invalidate('set:' || i) FROM generate_series(2, 150000) i OFFSET 0) s;
COMMIT;
SELECT value, status FROM wbcache.lookup('set:1');
SELECT wbcache.set('set:1', '"one"');
SELECT value, status FROM wbcache.lookup('set:1');

-- A full list does no harm to what is set after it, nor does one set to another.
BEGIN;
SELECT count(*) FROM (SELECT wbcache.invalidate('set:' || i) FROM generate_series(1, 150000) i OFFSET 0) s;
SELECT count(*) FROM (SELECT wbcache.set('set:full' || i, to_json(i)) FROM generate_series(1, 20) i OFFSET 0) s;
SELECT count(*) FROM (SELECT wbcache.set('set:' || i, to_json(i)) FROM generate_series(1, 20) i OFFSET 0) s;
SELECT wbcache.invalidate('set:20');
COMMIT;
SELECT count(value), sum(value::text::int) FROM wbcache.get_many((SELECT array_agg('set:full' || i) FROM generate_series(1, 20) i));
SELECT count(value), sum(value::text::int) FROM wbcache.get_many((SELECT array_agg('set:' || i) FROM generate_series(1, 20) i));

-- Many values in one transaction: each is set, also where two of them share a stripe.
SELECT count(*) FROM (SELECT wbcache.set('set:many' || i, to_json(i)) FROM generate_series(1, 10000) i OFFSET 0) s;
SELECT count(value), sum(value::text::int) = 5000 * 10001 AS all
  FROM wbcache.get_many((SELECT array_agg('set:many' || i) FROM generate_series(1, 10000) i));

-- And each with a savepoint.
DO $$
BEGIN
  FOR i IN 1 .. 5000 LOOP
    BEGIN
      PERFORM wbcache.set('set:many' || i, to_json(5001 - i));
      IF i % 2 = 0 THEN
        RAISE division_by_zero;
      END IF;
    EXCEPTION
      WHEN division_by_zero THEN NULL;
    END;
  END LOOP;
END $$;
-- Keys that share a stripe with one that was set later are gone; which, depends on the database.
SELECT count(value) > 4900 AS nearly_all
  FROM wbcache.get_many((SELECT array_agg('set:many' || i) FROM generate_series(1, 5000) i));

-- What savepoints take back costs no memory.
BEGIN;
DO $$
DECLARE
  value json := to_json(repeat('x', 1000000));
BEGIN
  FOR i IN 1 .. 100 LOOP
    BEGIN
      PERFORM wbcache.set('set:large', value);
      RAISE division_by_zero;
    EXCEPTION
      WHEN division_by_zero THEN NULL;
    END;
  END LOOP;
END $$;
SELECT sum(total_bytes) < 5000000 AS little FROM pg_backend_memory_contexts WHERE name = 'wbcache pending';
COMMIT;

-- An endpoint's name is a tag of all its keys.
SELECT wbcache.set('set:named', '1');
SELECT wbcache.get('set:named');
SELECT wbcache.invalidate_tag('set');
SELECT wbcache.get('set:named');

SELECT wbcache.drop_endpoint(name) FROM unnest('{set, set_expire, set_echo, set_echo_expire}'::name[]) name;
