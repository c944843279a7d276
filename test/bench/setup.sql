-- What the cases ask: an endpoint without a source, a table, and the empty function (module: path of bench_empty).
-- All of it is asked as the role "reader", as an application would.
CREATE ROLE reader LOGIN;

CREATE EXTENSION wbcache;
SELECT wbcache.create_endpoint('bench',
  pattern => 'bench:{id}', soft_ttl => '1 hour', hard_ttl => '2 hours', readers => '{reader}') \g /dev/null

CREATE TABLE kv (key text PRIMARY KEY, value json NOT NULL);
GRANT SELECT ON kv TO reader;

-- Declared as wbcache.get is, so that the planner and the executor treat both alike.
SELECT format('CREATE FUNCTION bench_empty(key text) RETURNS text LANGUAGE c %s %s PARALLEL %s COST %s AS %L',
  CASE provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
  CASE WHEN proisstrict THEN 'STRICT' ELSE '' END,
  CASE proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' ELSE 'UNSAFE' END,
  procost, :'module')
FROM pg_proc
WHERE oid = 'wbcache.get(text)'::regprocedure \gexec
