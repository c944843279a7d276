-- Bad input: every error says what is wrong and what to do, shows no secret, and changes nothing.
SELECT wbcache.create_endpoint('bad_echo', 'bad:echo:{id}', 'test_upstream', '/echo/bad/{id}');
SELECT wbcache.create_endpoint('bad_long', 'bad:long:{a}:{b}');

-- Keys without an endpoint: the hint names the closest pattern.
SELECT wbcache.get('bad:ecoh:1');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get('bad:echo');
SELECT wbcache.get('bad:long:1');
SELECT wbcache.lookup('bad:echo:1:2:3:4');
SELECT wbcache.get_many('{bad:echo}');
SELECT wbcache.set('bad:echo', '1');
SELECT wbcache.delete('bad:echo');
SELECT wbcache.invalidate('bad:echo');
SELECT wbcache.get('bad:' || repeat('x', 500));
SELECT wbcache.get('bad:' || repeat('ä', 200));

-- No pattern comes close; no endpoint at all.
BEGIN;
DELETE FROM wbcache.endpoint WHERE name <> 'bad_echo';
SELECT wbcache.get('worse:1');
ROLLBACK;
BEGIN;
DELETE FROM wbcache.endpoint;
SELECT wbcache.get('bad:echo:1');
ROLLBACK;

-- Keys that can't be one.
SELECT wbcache.get('');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get(repeat('x', 513));
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get(repeat('ä', 257));
SELECT wbcache.get(E'bad:echo:a\tb');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.get(E'bad:echo:1\n');
SELECT wbcache.get(E'\r');
SELECT wbcache.get(E'bad:echo:\x7f');
SELECT wbcache.get(E'bad:echo:\x01');
SELECT wbcache.get(E'bad:echo:\x1f');
SELECT wbcache.lookup(''), wbcache.get('bad:echo:1');
SELECT wbcache.get_many(ARRAY['bad:echo:1', E'a\nb']);
SELECT wbcache.set(E'a\nb', '1');
SELECT wbcache.delete('');
SELECT wbcache.invalidate(repeat('x', 513));
SELECT wbcache.get(':');
SELECT wbcache.get('bad::1');
SELECT wbcache.get(':bad:echo');
SELECT wbcache.get('bad:echo:');
SELECT wbcache.get(repeat('a:', 32) || 'a');

-- 512 bytes are allowed; so is all that isn't a control character.
SELECT wbcache.get('bad:echo:' || repeat('x', 503)) ->> 'n' AS n;
SELECT count(*), bool_and(wbcache.get(key) -> 'segments' ->> -1 = substr(key, 10)) AS whole
  FROM unnest(ARRAY['bad:echo: ', 'bad:echo:%', 'bad:echo:%2F', 'bad:echo:../x', 'bad:echo:a/b?c=d&e#f', 'bad:echo:''";--',
                    'bad:echo:äöü€😀', E'bad:echo:\u0085']) key;

-- NULL in, NULL out; nothing is changed by it.
SELECT wbcache.set('bad:echo:null', '"set"');
SELECT wbcache.set(NULL, '1') IS NULL, wbcache.set('bad:echo:null', NULL) IS NULL, wbcache.delete(NULL) IS NULL,
       wbcache.invalidate(NULL) IS NULL, wbcache.invalidate_tag(NULL) IS NULL, wbcache.get(NULL) IS NULL;
SELECT value, status FROM wbcache.lookup('bad:echo:null');
SELECT wbcache.create_endpoint(NULL, 'bad:null');
SELECT wbcache.create_endpoint('bad_null', NULL);
SELECT wbcache.alter_endpoint(NULL);
SELECT wbcache.drop_endpoint(NULL);

-- TTLs of an endpoint.
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '10 min', hard_ttl => '5 min');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '0');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '-1 s');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '1 s', hard_ttl => '0');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '1 s', hard_ttl => '-1 s');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '1 s', hard_ttl => '102 years');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '102 years');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', soft_ttl => '1 min', hard_ttl => '1 h', max_stale => '59 min');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', max_stale => '0');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', error_ttl => '-1 s');
SELECT wbcache.create_endpoint('bad', 'bad:ttl', error_ttl => '61 min');
SELECT wbcache.alter_endpoint('bad_echo', soft_ttl => '3 min');
SELECT wbcache.alter_endpoint('bad_echo', hard_ttl => '59 s');
SELECT wbcache.alter_endpoint('bad_echo', soft_ttl => '0');
SELECT soft_ttl, hard_ttl, max_stale, error_ttl FROM wbcache.endpoint WHERE name = 'bad_echo';

-- TTLs of a value.
SELECT wbcache.set('bad:echo:ttl', '1', soft_ttl => '10 min', hard_ttl => '5 min');
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.set('bad:echo:ttl', '1', soft_ttl => '0');
SELECT wbcache.set('bad:echo:ttl', '1', soft_ttl => '-1 s');
SELECT wbcache.set('bad:echo:ttl', '1', hard_ttl => '0');
SELECT wbcache.set('bad:echo:ttl', '1', hard_ttl => '59 s');
SELECT wbcache.set('bad:echo:ttl', '1', soft_ttl => '178000000 years');
SELECT wbcache.set('bad:echo:ttl', '1', soft_ttl => '1 fortnight');
SELECT status FROM wbcache.lookup('bad:echo:ttl');

-- Values and tags of a value.
SELECT wbcache.set('bad:echo:value', 'no json');
SELECT wbcache.set('bad:echo:value', '');
SELECT wbcache.set('bad:echo:value', to_json(repeat('x', 8 * 1024 * 1024 - 1)));
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.set('bad:echo:value', '1', tags => array_agg('tag' || i)) FROM generate_series(1, 17) i;
\echo :LAST_ERROR_SQLSTATE
SELECT wbcache.set('bad:echo:value', '1', tags => '{a, ""}');
SELECT wbcache.invalidate_tag('');
\echo :LAST_ERROR_SQLSTATE
SELECT status FROM wbcache.lookup('bad:echo:value');

-- The largest value, and the most tags.
SELECT wbcache.set('bad:echo:value', to_json(repeat('x', 8 * 1024 * 1024 - 2)), tags => array_agg('tag' || i))
  FROM generate_series(1, 16) i;
SELECT length(value::text), status FROM wbcache.lookup('bad:echo:value');
SELECT wbcache.delete('bad:echo:value');

-- Options of a server: a name that isn't one, values that can't be.
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', base_ulr 'x');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http;
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (timeout '5s');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url '');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'file:///etc/passwd');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'gopher://localhost/');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'ftp://localhost/');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'localhost/v3');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http:/localhost/v3');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http:///v3');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://local host/');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url E'http://localhost/\nHost: other');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://lööcalhost/');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost/v3?key=1');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost/v3#top');
\set VERBOSITY terse
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost:65536/');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://[::1/');
\set VERBOSITY default
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://user:s3cret@localhost/v3');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'https://s3cret@localhost/v3');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', timeout '0');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', timeout '-1s');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', timeout '11min');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', timeout '5 parsecs');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', timeout 'soon');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', connect_timeout '0');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', max_connections '0');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', max_connections '257');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', max_connections 'many');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', rate_limit '2500');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', rate_limit '0/15s');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', rate_limit '2500/0s');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', rate_limit '2500/2d');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', rate_limit 'some/15s');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', breaker_failures '0');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', breaker_cooldown '0');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', follow_redirects 'maybe');
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost', ca_file 'ca.pem');
SELECT count(*) FROM pg_foreign_server WHERE srvname = 'bad';

-- Nor can a server be altered into a bad one.
CREATE SERVER bad FOREIGN DATA WRAPPER wbcache_http OPTIONS (base_url 'http://localhost');
ALTER SERVER bad OPTIONS (SET base_url 'file:///etc/passwd');
ALTER SERVER bad OPTIONS (DROP base_url);
ALTER SERVER bad OPTIONS (ADD proxy 'http://localhost');
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'bad';

-- The wrapper itself has no options.
ALTER FOREIGN DATA WRAPPER wbcache_http OPTIONS (ADD base_url 'http://localhost');
CREATE FOREIGN TABLE bad_table (a int) SERVER bad;
SELECT * FROM bad_table;
DROP FOREIGN TABLE bad_table;

-- Headers: what is wrong with one is said without showing it.
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header E'X-Api-Key: s3cret\r\nHost: other');
\echo :LAST_ERROR_SQLSTATE
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header E'X-Api-Key: s3cret\n');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header E'X-Api-Key:\ts3cret');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 's3cret');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 's3 cret: x');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 'ß3cret: x');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header ': s3cret');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 'X-Api-Key:');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header '');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 'host: s3cret');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 'Content-Length: 3');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 'X-Good: yes', header_9 'If-None-Match: s3cret');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header_10 'X-Api-Key: s3cret');
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (password 's3cret');
SELECT count(*) FROM pg_user_mappings WHERE srvname = 'bad';
CREATE USER MAPPING FOR PUBLIC SERVER bad OPTIONS (header 'X-Api-Key: good');
ALTER USER MAPPING FOR PUBLIC SERVER bad OPTIONS (SET header E'X-Api-Key: s3cret\nHost: other');
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'bad';
DROP SERVER bad CASCADE;

-- Settings.
SET wbcache.max_wait = '0';
SET wbcache.max_wait = 'long';
SET wbcache.max_wait = '11min';
SET wbcache.maxwait = '1s';
SET wbcache.memory_size = '1GB';
SET wbcache.max_value_size = '1MB';

-- PREPARE TRANSACTION is refused to a transaction that would change the cache, and to no other.
SELECT wbcache.set('bad:long:1:2', '"before"');
BEGIN;
SELECT wbcache.invalidate('bad:long:1:2');
PREPARE TRANSACTION 'bad';
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT wbcache.invalidate_tag('bad');
PREPARE TRANSACTION 'bad';
BEGIN;
SELECT wbcache.set('bad:long:1:2', '"after"');
PREPARE TRANSACTION 'bad';
BEGIN;
SELECT wbcache.delete('bad:long:1:2');
PREPARE TRANSACTION 'bad';
BEGIN;
SELECT wbcache.clear();
PREPARE TRANSACTION 'bad';
BEGIN;
SELECT wbcache.alter_endpoint('bad_long', soft_ttl => '2 s');
PREPARE TRANSACTION 'bad';
SELECT count(*) FROM pg_prepared_xacts;
SELECT value, status FROM wbcache.lookup('bad:long:1:2');
BEGIN;
SELECT value, status FROM wbcache.lookup('bad:long:1:2');
SAVEPOINT a;
SELECT wbcache.invalidate('bad:long:1:2');
ROLLBACK TO a;
PREPARE TRANSACTION 'good';
SELECT value, status FROM wbcache.lookup('bad:long:1:2');
ROLLBACK PREPARED 'good';
SELECT value, status FROM wbcache.lookup('bad:long:1:2');

SELECT wbcache.drop_endpoint(name) FROM unnest('{bad_echo, bad_long}'::name[]) name;
