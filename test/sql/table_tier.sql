-- What SQL shows of the table tier: the table wbcache.entry, entry_is_current(), and what comes and goes behind the reads.
SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, c.collname AS collation
  FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation AND c.collname <> 'default'
  WHERE a.attrelid = 'wbcache.entry'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
SELECT relpersistence, relreplident, relrowsecurity FROM pg_class WHERE oid = 'wbcache.entry'::regclass;
SELECT unnest(reloptions) AS option FROM pg_class WHERE oid = 'wbcache.entry'::regclass;
SELECT unnest(t.reloptions) AS toast_option FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = 'wbcache.entry'::regclass;

-- Its only index is on columns that no refresh changes.
SELECT pg_get_indexdef(indexrelid) AS index, indisprimary FROM pg_index WHERE indrelid = 'wbcache.entry'::regclass;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'wbcache.entry'::regclass;

-- It shows all values: nobody but superusers reads it, and nobody else writes it; neither does who reads a key of it.
CREATE ROLE regress_tier_reader;
CREATE ROLE regress_tier_monitor;
GRANT pg_monitor TO regress_tier_monitor;
SELECT grantee::regrole, privilege_type FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = 'wbcache.entry'::regclass AND grantee <> relowner;
SELECT wbcache.create_endpoint('tier', 'tier:{id}', soft_ttl => '1 h', hard_ttl => '3 h', tags => ARRAY['tier_a:{id}', 'tier_b'], readers => '{regress_tier_reader}');
SET ROLE regress_tier_reader;
SELECT count(*) FROM wbcache.entry;
DELETE FROM wbcache.entry;
SELECT wbcache.entry_is_current('', 0, '{0}', '{0}');
SET ROLE regress_tier_monitor;
SELECT count(*) FROM wbcache.entry;
RESET ROLE;

-- Written behind.
SELECT wbcache.set('tier:1', '{"a" :  1}'), wbcache.set('tier:2', '"two"', tags => ARRAY['tier_extra']);
SELECT test.wait_until($$ (SELECT count(*) = 2 FROM wbcache.entry WHERE key LIKE 'tier:%') $$);
\x
SELECT key, role, loader, endpoint, value, tags, etag, last_modified, soft_expires_at - cached_at AS soft_ttl, hard_expires_at - cached_at AS hard_ttl,
       fetch_started = cached_at AS set_at_once, fetch_ms, source, epoch <> 0 AS has_epoch, cardinality(stripes) > 4 AS has_stripes,
       cardinality(generations) = cardinality(stripes) AS has_generations, wbcache.entry_is_current(key, epoch, stripes, generations) AS is_current
  FROM wbcache.entry WHERE key LIKE 'tier:%' ORDER BY key;
\x

-- A private key, and an endpoint with an upstream.
CREATE FUNCTION load_tier(parts text[]) RETURNS json LANGUAGE sql AS $$ SELECT to_json(parts) $$;
SELECT wbcache.get_with_swr('tier_private', 'load_tier(text[])', '1 h', '1 h');
SELECT wbcache.create_endpoint('tier_echo', 'tier_echo:{id}', 'test_upstream', '/echo/tier/{id}', soft_ttl => '1 h');
SELECT wbcache.get('tier_echo:1') IS NOT NULL AS fetched;
SELECT test.wait_until($$ (SELECT count(*) = 2 FROM wbcache.entry WHERE key IN ('tier_private', 'tier_echo:1')
  AND wbcache.entry_is_current(key, epoch, stripes, generations)) $$);
SELECT key, role = current_user::regrole::oid AS mine, loader::regprocedure, endpoint, value, tags FROM wbcache.entry WHERE key = 'tier_private'
  AND wbcache.entry_is_current(key, epoch, stripes, generations);
SELECT role, loader, endpoint, tags, source <> 0 AS source, fetch_started < cached_at AS took_time, fetch_ms > 0 AS fetch_ms FROM wbcache.entry
  WHERE key = 'tier_echo:1';

-- entry_is_current(): while none of its generations has moved.
CREATE FUNCTION tier_current(wanted text, OUT is_current boolean) LANGUAGE sql
  AS $$ SELECT coalesce(bool_or(wbcache.entry_is_current(key, epoch, stripes, generations)), false) FROM wbcache.entry WHERE key = wanted $$;
SELECT tier_current('tier:1'), tier_current('tier:2');
SELECT wbcache.invalidate('tier:1');
SELECT tier_current('tier:1'), tier_current('tier:2');
SELECT wbcache.invalidate_tag('tier_extra');
SELECT tier_current('tier:2');
SELECT key, wbcache.entry_is_current(key, epoch + 1, stripes, generations) AS other_epoch,
       wbcache.entry_is_current(key, epoch, stripes, generations[2:]) AS too_few, wbcache.entry_is_current(key, epoch, stripes[1:0], generations[1:0]) AS none,
       wbcache.entry_is_current(key, epoch, stripes || NULL::int, generations || NULL::bigint) AS nulls,
       wbcache.entry_is_current(key, epoch, array_fill(stripes[1], ARRAY[100]), array_fill(generations[1], ARRAY[100])) AS too_many,
       wbcache.entry_is_current(key, epoch, stripes || 2000000000, generations || 0::bigint) AS no_stripe,
       wbcache.entry_is_current(key, epoch, stripes || -1, generations || 0::bigint) AS negative,
       wbcache.entry_is_current(key, NULL, stripes, generations) AS unknown
  FROM wbcache.entry WHERE key = 'tier_echo:1';
BEGIN;
SELECT wbcache.invalidate('tier_echo:1');
SELECT tier_current('tier_echo:1') AS not_committed_yet;
ROLLBACK;
SELECT tier_current('tier_echo:1') AS rolled_back;

-- What is refreshed replaces its row; what is deleted, invalidated or of a dropped endpoint is of no use, and purged later.
SELECT wbcache.set('tier:1', '"again"'), wbcache.set('tier:2', '"too"', soft_ttl => '1 min', hard_ttl => '2 min');
SELECT test.wait_until($$ tier_current('tier:1') AND tier_current('tier:2') $$);
SELECT key, value, soft_expires_at - cached_at AS soft_ttl, hard_expires_at - cached_at AS hard_ttl FROM wbcache.entry WHERE key LIKE 'tier:%' ORDER BY key;
SELECT wbcache.delete('tier:1'), wbcache.invalidate_own('tier_private'), wbcache.drop_endpoint('tier_echo');
SELECT tier_current('tier:1'), tier_current('tier_private'), tier_current('tier_echo:1'), tier_current('tier:2');
SELECT wbcache.get('tier:1'), wbcache.get('tier:2');

-- Rows that somebody deletes are no loss but of the warm start: memory serves on.
DELETE FROM wbcache.entry WHERE key = 'tier:2';
SELECT value, status, detail FROM wbcache.lookup('tier:2');

-- The columns are what the functions promise, in this order; a stranger's row is as good as none.
INSERT INTO wbcache.entry (key, role, loader, value, tags, cached_at, soft_expires_at, hard_expires_at, fetch_started, fetch_ms, source, epoch, stripes, generations)
  VALUES ('tier:3', 0, 0, '"forged"', '{}', now(), now() + '1 h', now() + '1 h', now(), 0, 0, 0, '{0}', '{0}');
SELECT value, status FROM wbcache.lookup('tier:3');

SELECT wbcache.drop_endpoint('tier');
DELETE FROM wbcache.entry WHERE key LIKE 'tier%';
DROP FUNCTION tier_current, load_tier;
REVOKE pg_monitor FROM regress_tier_monitor;
DROP ROLE regress_tier_reader, regress_tier_monitor;
