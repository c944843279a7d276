--
-- Endpoints: create_endpoint, alter_endpoint, drop_endpoint, and the table
--
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only on

CREATE ROLE regress_wbc_owner;
CREATE ROLE regress_wbc_heir;
CREATE ROLE regress_wbc_group;
CREATE ROLE regress_wbc_member IN ROLE regress_wbc_group;
CREATE ROLE regress_wbc_stranger;
CREATE ROLE regress_wbc_monitor IN ROLE pg_monitor;
CREATE SERVER regress_upstream FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://127.0.0.1:9/none');

-- The error that a statement ends with, SQLSTATE first.
CREATE FUNCTION pg_temp.refused(statement text) RETURNS SETOF text
	LANGUAGE plpgsql AS
$$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN NEXT 'accepted: ' || statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT state || ' ' || message;
	IF detail <> '' THEN RETURN NEXT '  detail: ' || detail; END IF;
	IF hint <> '' THEN RETURN NEXT '  hint: ' || hint; END IF;
END
$$;
CREATE FUNCTION pg_temp.creation_refused(arguments text) RETURNS SETOF text
	LANGUAGE sql AS
$$ SELECT pg_temp.refused(format('SELECT wbcache.create_endpoint(%s)', arguments)) $$;

-- What reading a key comes to, without waiting for anything.
CREATE FUNCTION pg_temp.read(key text) RETURNS text
	LANGUAGE plpgsql AS
$$
BEGIN
	RETURN coalesce('value ' || wbcache.get(key)::text, 'no value');
EXCEPTION
	WHEN insufficient_privilege THEN RETURN 'permission denied';
	WHEN undefined_object THEN RETURN 'no endpoint';
END
$$;

CREATE VIEW pg_temp.mine AS
	SELECT * FROM wbcache.endpoint WHERE name LIKE 'regress%' ORDER BY name;

--
-- What create_endpoint makes of its arguments
--
SELECT wbcache.create_endpoint('regress_least', 'least:{a}');
SELECT wbcache.create_endpoint('regress_full', 'full:{a}:{b}',
	server => 'regress_upstream', path => '/x/{a}?b={b}',
	soft_ttl => '5 min', hard_ttl => '10 min', max_stale => '2 h', error_ttl => '0',
	tags => ARRAY['game:{a}', 'all'], on_invalidate => 'expire',
	readers => '{regress_wbc_group}', writers => '{regress_wbc_owner, regress_wbc_group}');
SELECT wbcache.create_endpoint('regress_long', 'long', soft_ttl => '1 mon 1 day', hard_ttl => '31 days');
SELECT wbcache.create_endpoint('regress_defaults', 'defaults', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT wbcache.create_endpoint('regress_none', 'none', server => '', path => '');
\pset format aligned
\pset tuples_only off
\x on
SELECT name, pattern, server, path, soft_ttl, hard_ttl, max_stale, error_ttl,
	tags, on_invalidate, readers, writers, owner = current_user::regrole AS is_mine
FROM pg_temp.mine;
\x off
\pset format unaligned
\pset tuples_only on

--
-- Arguments that break a rule
--
SELECT pg_temp.creation_refused($$ NULL, 'a' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', NULL $$);
SELECT pg_temp.creation_refused($$ '', 'a' $$);
SELECT pg_temp.creation_refused($$ E'a\nb', 'a' $$);
SELECT pg_temp.creation_refused($$ 'regress_least', 'a' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'least:{b}' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', server => 'regress_upstream' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', path => '/a' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', server => 'regress_nosuch', path => '/a' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', soft_ttl => '0' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', soft_ttl => '-1 s' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', soft_ttl => '1 mon -31 days' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', soft_ttl => '2 min', hard_ttl => '1 min' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', hard_ttl => '-1 min' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', hard_ttl => '2 h', max_stale => '1 h' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', soft_ttl => '1000 years', hard_ttl => '1000 years' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', soft_ttl => '100000000 years', hard_ttl => '1 s' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', error_ttl => '-1 s' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', error_ttl => '61 min' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', on_invalidate => 'Remove' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', tags => ARRAY['a', NULL] $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', tags => '{{a,b},{c,d}}' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', tags => (SELECT array_agg(i::text) FROM generate_series(1, 17) i) $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', readers => '{regress_wbc_nosuch}' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', readers => '{4294967295}' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', readers => '{-}' $$);
SELECT pg_temp.creation_refused($$ 'regress_bad', 'a', writers => ARRAY[NULL]::regrole[] $$);
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(NULL)');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_nosuch'')');
SELECT pg_temp.refused('SELECT wbcache.drop_endpoint(NULL)');
SELECT pg_temp.refused('SELECT wbcache.drop_endpoint(''regress_nosuch'')');
SET client_min_messages = notice;
SELECT wbcache.drop_endpoint('regress_nosuch', if_exists => true);
SET client_min_messages = warning;
BEGIN READ ONLY;
SELECT pg_temp.refused('SELECT wbcache.create_endpoint(''regress_bad'', ''a'')');
SELECT pg_temp.refused('SELECT wbcache.drop_endpoint(''regress_least'')');
ROLLBACK;

--
-- alter_endpoint: NULL leaves a property as it is
--
SELECT wbcache.alter_endpoint('regress_full');
SELECT wbcache.alter_endpoint('regress_full', soft_ttl => '6 min', tags => '{}');
SELECT server, path, soft_ttl, hard_ttl, tags, readers, owner = current_user::regrole FROM pg_temp.mine WHERE name = 'regress_full';
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_full'', soft_ttl => ''11 min'')');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_full'', hard_ttl => ''3 h'')');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_full'', pattern => ''full:{a}:{c}'')');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_full'', pattern => ''least:{b}'', path => ''/'')');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_full'', path => '''')');
SELECT wbcache.alter_endpoint('regress_full', pattern => 'full:{b}:{a}');
SELECT wbcache.alter_endpoint('regress_full', server => '');
SELECT pattern, server IS NULL, path IS NULL FROM pg_temp.mine WHERE name = 'regress_full';
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_full'', path => ''/'')');
SELECT wbcache.alter_endpoint('regress_full', server => 'regress_upstream', path => '/');

--
-- Privileges
--
SET ROLE regress_wbc_owner;
SELECT pg_temp.creation_refused($$ 'regress_own', 'own:{a}' $$);
SELECT pg_temp.refused('TABLE wbcache.endpoint');
SELECT pg_temp.refused('INSERT INTO wbcache.endpoint (name) VALUES (''x'')');
RESET ROLE;
GRANT EXECUTE ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint, wbcache.drop_endpoint
	TO regress_wbc_owner, regress_wbc_stranger;

-- a server needs USAGE by the owner, when it is named and when the owner changes
SET ROLE regress_wbc_owner;
SELECT pg_temp.creation_refused($$ 'regress_own', 'own:{a}', 'regress_upstream', '/' $$);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER regress_upstream TO regress_wbc_owner;
SET ROLE regress_wbc_owner;
SELECT wbcache.create_endpoint('regress_own', 'own:{a}', 'regress_upstream', '/', readers => '{regress_wbc_group}');
SELECT current_user;
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_least'', soft_ttl => ''1 s'')');
SELECT pg_temp.refused('SELECT wbcache.drop_endpoint(''regress_least'')');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_own'', owner => ''regress_wbc_heir'')');
RESET ROLE;
GRANT regress_wbc_heir TO regress_wbc_owner;
SET ROLE regress_wbc_owner;
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_own'', owner => ''regress_wbc_heir'')');
SELECT wbcache.alter_endpoint('regress_own', server => '');
SELECT wbcache.alter_endpoint('regress_own', owner => 'regress_wbc_heir');
SELECT wbcache.alter_endpoint('regress_own', soft_ttl => '7 s');
SELECT pg_temp.refused('SELECT wbcache.alter_endpoint(''regress_own'', server => ''regress_upstream'', path => ''/'')');
SET ROLE regress_wbc_monitor;
SELECT name, soft_ttl, owner, readers FROM wbcache.endpoint WHERE name = 'regress_own';
SELECT pg_temp.refused('DELETE FROM wbcache.endpoint');
RESET ROLE;

-- the owner and the readers read, members of theirs too, and nobody else; what was granted or revoked holds at once
CREATE FUNCTION pg_temp.who_reads(key text) RETURNS TABLE (role text, answer text)
	LANGUAGE plpgsql AS
$$
BEGIN
	FOREACH role IN ARRAY ARRAY['owner', 'heir', 'group', 'member', 'stranger', 'monitor'] LOOP
		PERFORM set_config('role', 'regress_wbc_' || role, true);
		answer := pg_temp.read(key);
		PERFORM set_config('role', 'none', true);
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT wbcache.set('own:1', '1');
SELECT * FROM pg_temp.who_reads('own:1');
GRANT regress_wbc_group TO regress_wbc_stranger;
REVOKE regress_wbc_group FROM regress_wbc_member;
SELECT * FROM pg_temp.who_reads('own:1');
-- also for a role that was the last one to read, whose answer is remembered
CREATE FUNCTION pg_temp.member_reads(key text) RETURNS text
	LANGUAGE sql SET role = 'regress_wbc_member' AS
$$ SELECT pg_temp.read(key) $$;
SELECT pg_temp.member_reads('own:1');
BEGIN;
GRANT regress_wbc_group TO regress_wbc_member;
SELECT pg_temp.member_reads('own:1');
ROLLBACK;
SELECT pg_temp.member_reads('own:1');
ALTER ROLE regress_wbc_member SUPERUSER;
SELECT pg_temp.member_reads('own:1');
ALTER ROLE regress_wbc_member NOSUPERUSER;
SELECT pg_temp.member_reads('own:1');

-- the owner and the writers write
SELECT wbcache.alter_endpoint('regress_own', readers => '{}', writers => '{regress_wbc_group}');
SET ROLE regress_wbc_stranger;
SELECT wbcache.set('own:2', '2');
SELECT pg_temp.read('own:2');
SET ROLE regress_wbc_member;
SELECT pg_temp.refused('SELECT wbcache.set(''own:2'', ''3'')');
RESET ROLE;
SELECT pg_temp.read('own:2');

-- a role that was dropped stays as a number, and does no harm
CREATE ROLE regress_wbc_gone;
SELECT wbcache.alter_endpoint('regress_own', readers => '{regress_wbc_gone, regress_wbc_group}');
DROP ROLE regress_wbc_gone;
SELECT wbcache.alter_endpoint('regress_own', soft_ttl => '8 s');
SELECT soft_ttl, readers[1]::text ~ '^\d+$', readers[2] FROM pg_temp.mine WHERE name = 'regress_own';
SELECT * FROM pg_temp.who_reads('own:1');

--
-- Transactions
--
-- a rolled-back endpoint was never there, an altered or dropped one is as it was, with its values
SELECT wbcache.set('least:1', '"kept"');
BEGIN;
SELECT wbcache.create_endpoint('regress_new', 'new:{a}');
SELECT pg_temp.read('new:1');
SELECT wbcache.drop_endpoint('regress_least');
SELECT pg_temp.read('least:1');
ROLLBACK;
SELECT pg_temp.read('new:1'), pg_temp.read('least:1');
BEGIN;
SAVEPOINT s;
SELECT wbcache.create_endpoint('regress_new', 'new:{a}');
SELECT wbcache.alter_endpoint('regress_least', pattern => 'least2:{a}');
SELECT pg_temp.read('new:1'), pg_temp.read('least2:1'), pg_temp.read('least:1');
ROLLBACK TO s;
SELECT pg_temp.read('new:1'), pg_temp.read('least2:1'), pg_temp.read('least:1');
COMMIT;
SELECT pg_temp.read('new:1'), pg_temp.read('least2:1'), pg_temp.read('least:1');

-- altering an endpoint invalidates its values, and those of no other
SELECT wbcache.set('none', '"kept"');
SELECT wbcache.alter_endpoint('regress_least', soft_ttl => '2 min', hard_ttl => '3 min');
SELECT pg_temp.read('least:1'), pg_temp.read('none');

-- so does dropping and creating it again
SELECT wbcache.set('least:1', '"old"');
BEGIN;
SELECT wbcache.drop_endpoint('regress_least');
SELECT wbcache.create_endpoint('regress_least', 'least:{a}');
SELECT pg_temp.read('least:1');
COMMIT;
SELECT pg_temp.read('least:1'), pg_temp.read('none');

-- which then has counters of its own
SELECT wbcache.set('least:1', '"new"');
SELECT pg_temp.read('least:1'), pg_temp.read('least:1');
SELECT hits FROM wbcache.stat_endpoint WHERE endpoint = 'regress_least';

-- a more literal endpoint takes its keys with it, and gives them back
SELECT wbcache.set('least:1', '"of least"');
SELECT wbcache.create_endpoint('regress_more', 'least:1');
SELECT pg_temp.read('least:1');
SELECT wbcache.set('least:1', '"of more"');
SELECT wbcache.drop_endpoint('regress_more');
SELECT pg_temp.read('least:1');

-- there is no half of it for a second phase
BEGIN;
SELECT wbcache.create_endpoint('regress_new', 'new:{a}');
PREPARE TRANSACTION 'regress_wbc';
SELECT pg_temp.read('new:1');

--
-- The table itself: the rules hold whoever writes, whatever the replication role
--
SELECT pg_temp.refused($$ INSERT INTO wbcache.endpoint (name, pattern, soft_ttl, hard_ttl, owner)
	VALUES ('regress_a', 'a:{x}', '1 s', '1 s', current_user::regrole), ('regress_b', 'a:{y}', '1 s', '1 s', current_user::regrole) $$);
SET session_replication_role = replica;
SELECT pg_temp.refused($$ INSERT INTO wbcache.endpoint (name, pattern, soft_ttl, hard_ttl, owner)
	VALUES ('regress_a', 'a::{x}', '1 s', '1 s', current_user::regrole) $$);
INSERT INTO wbcache.endpoint (name, pattern, soft_ttl, hard_ttl, owner)
	VALUES ('regress_a', 'a:{x}', '1 s', '1 s', current_user::regrole);
SELECT pg_temp.read('a:1');
RESET session_replication_role;
SELECT pg_temp.refused('UPDATE wbcache.endpoint SET soft_ttl = ''2 s'' WHERE name = ''regress_a''');
SELECT pg_temp.refused('UPDATE wbcache.endpoint SET soft_ttl = NULL WHERE name = ''regress_a''');
INSERT INTO wbcache.endpoint (name, pattern, soft_ttl, hard_ttl, owner)
	VALUES ('regress_a', 'a:{y}', '2 s', '2 s', current_user::regrole)
	ON CONFLICT (name) DO UPDATE SET soft_ttl = excluded.soft_ttl, hard_ttl = excluded.hard_ttl;
SELECT pattern, soft_ttl FROM pg_temp.mine WHERE name = 'regress_a';

-- a new name is a new endpoint
SELECT wbcache.set('a:1', '1');
UPDATE wbcache.endpoint SET name = 'regress_z' WHERE name = 'regress_a';
SELECT pg_temp.read('a:1');

-- TRUNCATE
SELECT wbcache.set('a:1', '1');
BEGIN;
TRUNCATE wbcache.endpoint;
SELECT pg_temp.read('a:1');
ROLLBACK;
SELECT pg_temp.read('a:1');
BEGIN;
CREATE TABLE pg_temp.kept AS TABLE wbcache.endpoint;
TRUNCATE wbcache.endpoint;
INSERT INTO wbcache.endpoint TABLE pg_temp.kept;
COMMIT;
SELECT pg_temp.read('a:1');

-- a row that was written past the trigger is ignored, and said so
BEGIN;
ALTER TABLE wbcache.endpoint DISABLE TRIGGER endpoint_check;
INSERT INTO wbcache.endpoint (name, pattern, soft_ttl, hard_ttl, owner)
	VALUES ('regress_broken', 'a::b', '1 s', '1 s', current_user::regrole);
SELECT pg_temp.read('none');
ROLLBACK;

-- trigger functions are nothing else
SELECT pg_temp.refused('SELECT wbcache.endpoint_check()');
SELECT pg_temp.refused('SELECT wbcache.endpoint_changed()');
CREATE TABLE pg_temp.other (LIKE wbcache.endpoint);
CREATE TRIGGER other BEFORE INSERT ON pg_temp.other FOR EACH ROW EXECUTE FUNCTION wbcache.endpoint_check();
SELECT pg_temp.refused('INSERT INTO pg_temp.other (name) VALUES (''x'')');
CREATE TRIGGER changed AFTER DELETE ON pg_temp.other FOR EACH STATEMENT EXECUTE FUNCTION wbcache.endpoint_changed();
SELECT pg_temp.refused('DELETE FROM pg_temp.other');

--
-- What pg_dump takes along, and who may do what
--
SELECT 'wbcache.endpoint'::regclass = ANY (extconfig) FROM pg_extension WHERE extname = 'wbcache';
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'wbcache.endpoint'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT proname, has_function_privilege('regress_wbc_heir', oid, 'EXECUTE'), provolatile, proparallel, proisstrict
FROM pg_proc WHERE pronamespace = 'wbcache'::regnamespace AND proname LIKE '%endpoint' OR proname ~ '^endpoint_(check|changed)$' ORDER BY 1;
SELECT has_table_privilege('regress_wbc_heir', 'wbcache.endpoint', p) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p;

-- the owner drops
SET ROLE regress_wbc_heir;
SELECT pg_temp.refused('SELECT wbcache.drop_endpoint(''regress_own'')');
RESET ROLE;
GRANT EXECUTE ON FUNCTION wbcache.drop_endpoint TO regress_wbc_heir;
SET ROLE regress_wbc_heir;
SELECT wbcache.drop_endpoint('regress_own');
RESET ROLE;
SELECT pg_temp.read('own:1');

SELECT count(wbcache.drop_endpoint(name)) FROM pg_temp.mine;
REVOKE EXECUTE ON FUNCTION wbcache.create_endpoint, wbcache.alter_endpoint, wbcache.drop_endpoint
	FROM regress_wbc_owner, regress_wbc_heir, regress_wbc_stranger;
DROP SERVER regress_upstream CASCADE;
DROP ROLE regress_wbc_owner, regress_wbc_heir, regress_wbc_group, regress_wbc_member, regress_wbc_stranger, regress_wbc_monitor;
