--
-- Patterns: which endpoint has a key, and what becomes of the key's parts
--
\getenv port WBC_UPSTREAM_PORT
\getenv api_key WBC_UPSTREAM_KEY
\set base_url 'http://127.0.0.1:' :port '/api/v3'
\set header 'X-Api-Key: ' :api_key
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only on

CREATE ROLE regress_wbc_nobody;
CREATE ROLE regress_wbc_reader;
CREATE SERVER regress_echo FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url :'base_url');
CREATE USER MAPPING FOR PUBLIC SERVER regress_echo OPTIONS (header :'header');

-- The endpoint that has a key, as the error says that refuses to read it.
CREATE FUNCTION pg_temp.endpoint_of(key text) RETURNS text
	LANGUAGE plpgsql SET role = 'regress_wbc_nobody' AS
$$
BEGIN
	PERFORM wbcache.get(key);
	RETURN 'readable';
EXCEPTION
	WHEN insufficient_privilege THEN
		RETURN substring(SQLERRM FROM '"(.*)"');
	WHEN undefined_object THEN
		RETURN 'none';
END
$$;

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

CREATE FUNCTION pg_temp.pattern_refused(pattern text) RETURNS SETOF text
	LANGUAGE sql AS
$$ SELECT pg_temp.refused(format('SELECT wbcache.create_endpoint(%L, %L)', 'regress_bad', pattern)) $$;

--
-- The most literal pattern has the key, whichever was created first
--
SELECT wbcache.create_endpoint('regress_any', 'rp:{a}:{b}');
SELECT wbcache.create_endpoint('regress_categories', 'rp:categories:{fixture_id}');
SELECT wbcache.create_endpoint('regress_all', 'rp:categories:all');
SELECT wbcache.create_endpoint('regress_four', 'rp:{a}:{b}:{c}');
SELECT wbcache.create_endpoint('regress_one', 'rp');
SELECT key, pg_temp.endpoint_of(key)
FROM unnest(ARRAY['rp:categories:all', 'rp:categories:42', 'rp:x:all', 'rp:x:y', 'rp:x:y:z', 'rp']) key;

-- so it is when the least literal one comes last
SELECT wbcache.drop_endpoint('regress_any');
SELECT pg_temp.endpoint_of('rp:x:y');
SELECT wbcache.create_endpoint('regress_any', 'rp:{a}:{b}');
SELECT key, pg_temp.endpoint_of(key)
FROM unnest(ARRAY['rp:categories:all', 'rp:categories:42', 'rp:x:y']) key;

--
-- A literal is compared as a whole, byte by byte; a parameter takes any text
--
SELECT key, pg_temp.endpoint_of(key)
FROM unnest(ARRAY['rp:Categories:42', 'rp:categorie:42', 'rp:categoriess:42', 'r:x:y', 'rpp:x:y',
                  'rp:{a}:{b}', 'rp:*:?', 'rp: : ', 'rp:é:日本', 'rp:x']) key;

--
-- Patterns with equal right
--
SELECT pg_temp.pattern_refused('rp:{b}:{a}');
SELECT pg_temp.pattern_refused('rp:{a}:all');
SELECT pg_temp.pattern_refused('{x}:categories:{z}');
SELECT pg_temp.pattern_refused('rp:categories:all');
SELECT pg_temp.pattern_refused('{x}:{y}:all:{z}');

-- those that differ in a literal, in length, or in the number of literals
SELECT wbcache.create_endpoint('regress_other', 'rp2:{a}:{b}');
SELECT wbcache.create_endpoint('regress_zero', '{a}:{b}:{c}:{d}');
SELECT wbcache.create_endpoint('regress_two', 'rp2:{a}:all');
SELECT wbcache.create_endpoint('regress_single', '{x}');
SELECT key, pg_temp.endpoint_of(key)
FROM unnest(ARRAY['rp2:x:y', 'rp2:x:all', 'rp2:categories:all', '1:2:3:4', 'rp:2:3:4', 'rp', 'rp2']) key;

--
-- A key without an endpoint: the hint names the closest pattern
--
SELECT pg_temp.refused('SELECT wbcache.get(''rpx:categories:all'')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp2:x'')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp:categories:all:1:2'')');
SELECT pg_temp.refused(format('SELECT wbcache.get(%L)', repeat('é', 200) || ':x'));

-- but none that the role may not read
SELECT wbcache.alter_endpoint('regress_other', readers => '{regress_wbc_reader}');
SET ROLE regress_wbc_reader;
SELECT pg_temp.refused('SELECT wbcache.get(''rpx:categories:all'')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp2:x'')');
SET ROLE regress_wbc_nobody;
SELECT pg_temp.refused('SELECT wbcache.get(''rp2:x'')');
RESET ROLE;

--
-- Keys that can't be one
--
SELECT pg_temp.refused('SELECT wbcache.get('''')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp::y'')');
SELECT pg_temp.refused('SELECT wbcache.get('':'')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp:x:'')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp:x' || chr(10) || ':y'')');
SELECT pg_temp.refused('SELECT wbcache.get(''rp:x' || chr(127) || ':y'')');
SELECT pg_temp.refused(format('SELECT wbcache.get(%L)', repeat('x', 513)));
SELECT pg_temp.refused(format('SELECT wbcache.get(%L)', repeat('x:', 32) || 'x'));

-- the longest ones
SELECT wbcache.create_endpoint('regress_32', repeat('x:', 31) || '{a}');
SELECT pg_temp.endpoint_of(repeat('x:', 31) || 'y');
SELECT pg_temp.endpoint_of('rp:a:' || repeat('y', 507));

--
-- Patterns that can't be one
--
SELECT pg_temp.pattern_refused('');
SELECT pg_temp.pattern_refused(':a');
SELECT pg_temp.pattern_refused('a:');
SELECT pg_temp.pattern_refused('a::b');
SELECT pg_temp.pattern_refused('a:x{b}');
SELECT pg_temp.pattern_refused('a:{b}{c}');
SELECT pg_temp.pattern_refused('a:{b');
SELECT pg_temp.pattern_refused('a:b}');
SELECT pg_temp.pattern_refused('a:{}');
SELECT pg_temp.pattern_refused('a:{B}');
SELECT pg_temp.pattern_refused('a:{1b}');
SELECT pg_temp.pattern_refused('a:{b c}');
SELECT pg_temp.pattern_refused('a:{b}:{b}');
SELECT pg_temp.pattern_refused('a:' || chr(9));
SELECT pg_temp.pattern_refused(repeat('x', 513));
SELECT pg_temp.pattern_refused(repeat('x:', 32) || 'x');

--
-- Templates that don't fit their pattern
--
CREATE FUNCTION pg_temp.path_refused(path text) RETURNS SETOF text
	LANGUAGE sql AS
$$ SELECT pg_temp.refused(format('SELECT wbcache.create_endpoint(%L, %L, %L, %L)', 'regress_bad', 'rt:{a}:{b}', 'regress_echo', path)) $$;
CREATE FUNCTION pg_temp.tag_refused(tag text) RETURNS SETOF text
	LANGUAGE sql AS
$$ SELECT pg_temp.refused(format('SELECT wbcache.create_endpoint(%L, %L, tags => ARRAY[%L])', 'regress_bad', 'rt:{a}:{b}', tag)) $$;
SELECT pg_temp.path_refused('/x/{c}');
SELECT pg_temp.path_refused('/x/{}');
SELECT pg_temp.path_refused('/x/{a');
SELECT pg_temp.path_refused('/x/a}');
SELECT pg_temp.path_refused('/x/{{a}}');
SELECT pg_temp.path_refused('x/{a}');
SELECT pg_temp.path_refused('//x y');
SELECT pg_temp.path_refused('/x#{a}');
SELECT pg_temp.path_refused('/x\{a}');
SELECT pg_temp.path_refused('/x' || chr(13) || chr(10) || 'Host: evil');
SELECT pg_temp.path_refused('/é');
SELECT pg_temp.path_refused('/%{a}');
SELECT pg_temp.path_refused('/%2{a}');
SELECT pg_temp.path_refused('/' || repeat('x', 2000));
SELECT pg_temp.tag_refused('game:{c}');
SELECT pg_temp.tag_refused('game:{a');
SELECT pg_temp.tag_refused('');
SELECT pg_temp.tag_refused(chr(10));
SELECT pg_temp.tag_refused(repeat('x', 513));
SELECT pg_temp.refused('SELECT wbcache.create_endpoint(''regress_bad'', ''rt'', ''regress_echo'', ''/{a}'')');

--
-- Parts become data of the URL, and arrive whole
--
SELECT wbcache.create_endpoint('regress_echo', 'echo:{a}:{b}', 'regress_echo',
	'/echo/{a}/{b}?one={a}&two=%20{b}{b}');
CREATE FUNCTION pg_temp.echo(part text) RETURNS SETOF text
	LANGUAGE plpgsql AS
$$
DECLARE
	answer json := wbcache.get('echo:' || part || ':end');
BEGIN
	RETURN NEXT answer->>'target';
	RETURN NEXT answer->'segments'->>0 IS NOT DISTINCT FROM part
		AND answer->'segments'->>1 = 'end'
		AND answer->'query'->>'one' = part
		AND answer->'query'->>'two' = ' endend';
END
$$;
SELECT pg_temp.echo('plain-._~AZaz09');
SELECT pg_temp.echo('../../etc/passwd');
SELECT pg_temp.echo('..');
SELECT pg_temp.echo('.');
SELECT pg_temp.echo('...');
SELECT pg_temp.echo('a b+c');
SELECT pg_temp.echo('%2e%2e%2f%00');
SELECT pg_temp.echo('?x=1&one=2#three;four=4');
SELECT pg_temp.echo('@evil.example');
SELECT pg_temp.echo('"''<>\^`{}|!$*(),=');
SELECT pg_temp.echo('{b}');
SELECT pg_temp.echo('Zürich €日本😀');

--
-- Tags get the parts as they are
--
SELECT wbcache.create_endpoint('regress_tagged', 'rtag:{a}:{b}', tags => ARRAY['rgame:{a}', 'r{b}{a}', 'rfixed']);
CREATE PROCEDURE pg_temp.invalidates(tag text)
	LANGUAGE plpgsql AS
$$
DECLARE
	gone boolean;
BEGIN
	PERFORM wbcache.set('rtag:4 2/%:{é}', '1');
	COMMIT;
	PERFORM wbcache.invalidate_tag(tag);
	COMMIT;
	gone := wbcache.get('rtag:4 2/%:{é}') IS NULL;
	RAISE WARNING '% %', CASE WHEN gone THEN 'invalidated by' ELSE 'not touched by' END, tag;
END
$$;
\set VERBOSITY terse
CALL pg_temp.invalidates('rgame:4 2/%');
CALL pg_temp.invalidates('r{é}4 2/%');
CALL pg_temp.invalidates('rfixed');
CALL pg_temp.invalidates('rgame:4%202%2F%25');
CALL pg_temp.invalidates('rgame:4');
CALL pg_temp.invalidates('rgame:{a}');
\set VERBOSITY default

SELECT count(wbcache.drop_endpoint(name)) FROM wbcache.endpoint WHERE name LIKE 'regress%';
DROP SERVER regress_echo CASCADE;
DROP ROLE regress_wbc_nobody, regress_wbc_reader;
