-- Who may do what. Each call checks the current role against the endpoint of its key.
CREATE ROLE regress_wbcache_owner;
CREATE ROLE regress_wbcache_reader;
CREATE ROLE regress_wbcache_writer;
CREATE ROLE regress_wbcache_group;
CREATE ROLE regress_wbcache_member;
CREATE ROLE regress_wbcache_noinherit NOINHERIT;
CREATE ROLE regress_wbcache_stranger;
CREATE ROLE regress_wbcache_monitor IN ROLE pg_monitor;
CREATE ROLE regress_wbcache_super SUPERUSER;

-- Making an endpoint takes EXECUTE on the function, which PUBLIC has not, and USAGE of the server.
SET ROLE regress_wbcache_owner;
SELECT wbcache.create_endpoint('privileges', 'privileges:{id}', 'test_upstream', '/echo/privileges/{id}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint, wbcache.drop_endpoint
  TO regress_wbcache_owner, regress_wbcache_stranger, regress_wbcache_member;
SET ROLE regress_wbcache_owner;
SELECT wbcache.create_endpoint('privileges', 'privileges:{id}', 'test_upstream', '/echo/privileges/{id}');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER test_upstream TO regress_wbcache_owner;
SET ROLE regress_wbcache_owner;
SELECT wbcache.create_endpoint('privileges', 'privileges:{id}', 'test_upstream', '/echo/privileges/{id}',
                               soft_ttl => '1 h', readers => '{regress_wbcache_reader}', writers => '{regress_wbcache_writer}');
SELECT wbcache.create_endpoint('privileges_group', 'privileges_group:{id}', soft_ttl => '1 h',
                               readers => '{regress_wbcache_group}', writers => '{regress_wbcache_group}');
RESET ROLE;
SELECT name, owner, readers, writers FROM wbcache.endpoint WHERE name LIKE 'privileges%' ORDER BY name;

-- What each role may: the answer to a read and to each way of writing.
CREATE PROCEDURE privileges_of(role name, key text) LANGUAGE plpgsql AS $$
DECLARE
  call text;
  may text := '';
  may_not text := '';
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  FOREACH call IN ARRAY '{get(%L), lookup(%L), get_many(ARRAY[%L]), "set(%L, ''\"set\"'')", delete(%L), invalidate(%L)}'::text[] LOOP
    BEGIN
      EXECUTE 'SELECT wbcache.' || format(call, key);
      may := may || ' ' || split_part(call, '(', 1);
    EXCEPTION
      WHEN insufficient_privilege THEN may_not := may_not || ' ' || split_part(call, '(', 1);
    END;
  END LOOP;
  RESET ROLE;
  RAISE NOTICE '% may%, may not%', role, coalesce(nullif(may, ''), ' nothing'), coalesce(nullif(may_not, ''), ' nothing');
END $$;
CALL privileges_of('regress_wbcache_owner', 'privileges:1');
CALL privileges_of('regress_wbcache_reader', 'privileges:1');
CALL privileges_of('regress_wbcache_writer', 'privileges:1');
CALL privileges_of('regress_wbcache_stranger', 'privileges:1');
CALL privileges_of('regress_wbcache_monitor', 'privileges:1');
CALL privileges_of('regress_wbcache_super', 'privileges:1');

-- The errors, and what a hint may tell.
SET ROLE regress_wbcache_stranger;
SELECT wbcache.get('privileges:1');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.set('privileges:1', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM wbcache.get_many('{privileges:1}');
SELECT wbcache.get('privileges:1:2');
SET ROLE regress_wbcache_reader;
SELECT wbcache.get('privileges:1:2');
SELECT wbcache.invalidate('privileges:1');
SELECT * FROM wbcache.get_many('{privileges:1, privileges_group:1}');
RESET ROLE;

-- Membership counts as soon as it is granted, and no longer than that; also in a session that has asked before.
CALL privileges_of('regress_wbcache_group', 'privileges_group:1');
CALL privileges_of('regress_wbcache_member', 'privileges_group:1');
GRANT regress_wbcache_group TO regress_wbcache_member;
CALL privileges_of('regress_wbcache_member', 'privileges_group:1');
REVOKE regress_wbcache_group FROM regress_wbcache_member;
CALL privileges_of('regress_wbcache_member', 'privileges_group:1');
SET ROLE regress_wbcache_member;
SELECT wbcache.get('privileges_group:1');
RESET ROLE;
GRANT regress_wbcache_group TO regress_wbcache_member;
SET ROLE regress_wbcache_member;
SELECT wbcache.get('privileges_group:1');
RESET ROLE;
BEGIN;
REVOKE regress_wbcache_group FROM regress_wbcache_member;
CALL privileges_of('regress_wbcache_member', 'privileges_group:1');
ROLLBACK;
CALL privileges_of('regress_wbcache_member', 'privileges_group:1');

-- A member that doesn't inherit has to become the role first.
GRANT regress_wbcache_group TO regress_wbcache_noinherit;
CALL privileges_of('regress_wbcache_noinherit', 'privileges_group:1');

-- A role that becomes a superuser, and one that was.
ALTER ROLE regress_wbcache_super NOSUPERUSER;
CALL privileges_of('regress_wbcache_super', 'privileges_group:1');
ALTER ROLE regress_wbcache_super SUPERUSER;
CALL privileges_of('regress_wbcache_super', 'privileges_group:1');

-- Readers and writers that are changed.
SELECT wbcache.alter_endpoint('privileges_group', readers => '{regress_wbcache_stranger}', writers => '{}');
CALL privileges_of('regress_wbcache_group', 'privileges_group:1');
CALL privileges_of('regress_wbcache_stranger', 'privileges_group:1');
SELECT wbcache.alter_endpoint('privileges_group', readers => '{regress_wbcache_group}', writers => '{regress_wbcache_group}');

-- What an endpoint held before it was dropped is not for the next one of its name, which may be another role's; not even
-- where stale values are served.
SET ROLE regress_wbcache_owner;
SELECT wbcache.create_endpoint('privileges_left', 'privileges_left:{id}', soft_ttl => '1 h', on_invalidate => 'expire');
SELECT wbcache.set('privileges_left:1', '"secret"');
SELECT wbcache.invalidate('privileges_left:1');
SELECT value, status FROM wbcache.lookup('privileges_left:1');
SELECT wbcache.drop_endpoint('privileges_left');
SET ROLE regress_wbcache_stranger;
SELECT wbcache.create_endpoint('privileges_left', 'privileges_left:{id}', soft_ttl => '1 h', on_invalidate => 'expire');
SELECT value, status FROM wbcache.lookup('privileges_left:1');
SELECT wbcache.set('privileges_left:1', '"of the stranger"');
SELECT wbcache.alter_endpoint('privileges_left', soft_ttl => '2 h');
SELECT value, status FROM wbcache.lookup('privileges_left:1');
SELECT wbcache.drop_endpoint('privileges_left');
RESET ROLE;

-- A SECURITY DEFINER function lends its owner's right.
CREATE FUNCTION privileges_get(key text) RETURNS json LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
  AS 'SELECT wbcache.get(key)';
ALTER FUNCTION privileges_get OWNER TO regress_wbcache_reader;
SELECT wbcache.set('privileges:2', '"two"');
SET ROLE regress_wbcache_stranger;
SELECT privileges_get('privileges:2');
SELECT wbcache.get('privileges:2');
SELECT privileges_get('privileges:2');
RESET ROLE;
DROP FUNCTION privileges_get;

-- Endpoints are changed by their owner and its members.
SET ROLE regress_wbcache_stranger;
SELECT wbcache.alter_endpoint('privileges', soft_ttl => '1 s');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.drop_endpoint('privileges');
SELECT wbcache.drop_endpoint('privileges', if_exists => true);
SELECT wbcache.alter_endpoint('privileges', owner => 'regress_wbcache_stranger');
RESET ROLE;
GRANT regress_wbcache_owner TO regress_wbcache_member;
SET ROLE regress_wbcache_member;
SELECT wbcache.alter_endpoint('privileges', soft_ttl => '2 h', hard_ttl => '2 h');
RESET ROLE;
SELECT soft_ttl, owner FROM wbcache.endpoint WHERE name = 'privileges';

-- They are given away to a role that the giver is a member of, and that may use the server.
SET ROLE regress_wbcache_owner;
SELECT wbcache.alter_endpoint('privileges', owner => 'regress_wbcache_stranger');
RESET ROLE;
SELECT wbcache.alter_endpoint('privileges', owner => 'regress_wbcache_group');
GRANT USAGE ON FOREIGN SERVER test_upstream TO regress_wbcache_group;
SELECT wbcache.alter_endpoint('privileges', owner => 'regress_wbcache_group');
CALL privileges_of('regress_wbcache_owner', 'privileges:1');
CALL privileges_of('regress_wbcache_group', 'privileges:1');
SET ROLE regress_wbcache_member;
SELECT wbcache.alter_endpoint('privileges', owner => 'regress_wbcache_owner');
RESET ROLE;
SELECT owner FROM wbcache.endpoint WHERE name = 'privileges';
REVOKE USAGE ON FOREIGN SERVER test_upstream FROM regress_wbcache_group;

-- An owner who loses USAGE of the server gets no new values; what is cached stays.
SELECT wbcache.get('privileges:3') IS NOT NULL AS got;
REVOKE USAGE ON FOREIGN SERVER test_upstream FROM regress_wbcache_owner;
SELECT wbcache.get('privileges:3') IS NOT NULL AS got;
SELECT wbcache.get('privileges:4');
\echo :LAST_ERROR_SQLSTATE
GRANT USAGE ON FOREIGN SERVER test_upstream TO regress_wbcache_owner;
SELECT wbcache.get('privileges:5') IS NOT NULL AS got;

-- The table itself is closed, to the owner of an endpoint as well.
SET ROLE regress_wbcache_owner;
SELECT count(*) FROM wbcache.endpoint;
INSERT INTO wbcache.endpoint SELECT * FROM wbcache.endpoint;
UPDATE wbcache.endpoint SET soft_ttl = '1 s';
DELETE FROM wbcache.endpoint;
TRUNCATE wbcache.endpoint;
RESET ROLE;

-- What is for administrators: closed to PUBLIC, open to whom it is granted to.
SET ROLE regress_wbcache_stranger;
SELECT wbcache.invalidate_tag('privileges');
SELECT wbcache.clear();
SELECT wbcache.stat_reset();
SELECT * FROM wbcache.stat_endpoint;
SELECT * FROM wbcache.stat_endpoint_counters();
SET ROLE regress_wbcache_monitor;
SELECT wbcache.invalidate_tag('privileges');
SELECT wbcache.clear();
SELECT wbcache.stat_reset();
SELECT count(*) > 0 AS endpoint FROM wbcache.endpoint;
SELECT count(*) > 0 AS stat_endpoint FROM wbcache.stat_endpoint;
SELECT count(*) > 0 AS stat_coalescer FROM wbcache.stat_coalescer;
SELECT count(*) > 0 AS stat_server FROM wbcache.stat_server;
SELECT count(*) > 0 AS stat_memory FROM wbcache.stat_memory;
SELECT count(*) > 0 AS stat_worker FROM wbcache.stat_worker;
RESET ROLE;
GRANT EXECUTE ON FUNCTION wbcache.invalidate_tag TO regress_wbcache_stranger;
SET ROLE regress_wbcache_stranger;
SELECT wbcache.invalidate_tag('privileges');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION wbcache.invalidate_tag FROM regress_wbcache_stranger;

-- Servers are made by those who have USAGE of the wrapper.
SET ROLE regress_wbcache_stranger;
CREATE SERVER privileges FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost');
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER wbcache_http TO regress_wbcache_stranger;
SET ROLE regress_wbcache_stranger;
CREATE SERVER privileges FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', ca_file '/etc/passwd');
CREATE SERVER privileges FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost');
ALTER SERVER privileges OPTIONS (ADD ca_file '/etc/passwd');
CREATE USER MAPPING FOR regress_wbcache_stranger SERVER privileges OPTIONS (header 'X-Api-Key: s3cret');
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'privileges';
SET ROLE regress_wbcache_owner;
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'privileges';
RESET ROLE;
DROP SERVER privileges CASCADE;
REVOKE USAGE ON FOREIGN DATA WRAPPER wbcache_http FROM regress_wbcache_stranger;

-- Settings of a session that anyone may change.
SET ROLE regress_wbcache_stranger;
SET wbcache.max_wait = '10s';
RESET wbcache.max_wait;
RESET ROLE;

SELECT wbcache.drop_endpoint(name) FROM unnest('{privileges, privileges_group}'::name[]) name;
REVOKE EXECUTE ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint, wbcache.drop_endpoint
  FROM regress_wbcache_owner, regress_wbcache_stranger, regress_wbcache_member;
REVOKE USAGE ON FOREIGN SERVER test_upstream FROM regress_wbcache_owner;
DROP PROCEDURE privileges_of;
DROP ROLE regress_wbcache_owner, regress_wbcache_reader, regress_wbcache_writer, regress_wbcache_group, regress_wbcache_member,
  regress_wbcache_noinherit, regress_wbcache_stranger, regress_wbcache_monitor, regress_wbcache_super;
