-- One screen of what the cache of a database does: psql -d app -f wbcache_report.sql
-- For members of pg_monitor. Again every two seconds: \watch 2 behind the SELECT.
\pset format unaligned
\pset tuples_only on
SELECT wbcache.report();
