-- What the extension consists of, by the catalogs: what PUBLIC may use, what each function promises, what lacks a comment.
CREATE TEMP VIEW member AS
  SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'wbcache')
  UNION
  SELECT 'pg_namespace'::regclass, 'wbcache'::regnamespace;

-- What PUBLIC may: no more than to read and write keys, each of which checks the role, and to have options validated.
SELECT identity AS object, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS privileges
  FROM member, pg_identify_object(classid, objid, 0), LATERAL (
    SELECT coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE (classid, oid) = ('pg_namespace'::regclass, objid)
    UNION ALL
    SELECT coalesce(relacl, acldefault('r', relowner)) FROM pg_class WHERE (classid, oid) = ('pg_class'::regclass, objid)
    UNION ALL
    SELECT attacl FROM pg_attribute WHERE (classid, attrelid) = ('pg_class'::regclass, objid) AND attacl IS NOT NULL
    UNION ALL
    SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE (classid, oid) = ('pg_proc'::regclass, objid)
    UNION ALL
    SELECT coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE (classid, oid) = ('pg_type'::regclass, objid)
    UNION ALL
    SELECT coalesce(fdwacl, acldefault('F', fdwowner)) FROM pg_foreign_data_wrapper
      WHERE (classid, oid) = ('pg_foreign_data_wrapper'::regclass, objid)) a (acl), aclexplode(acl)
  WHERE grantee = 0 GROUP BY identity ORDER BY identity COLLATE "C";

-- What has no privileges of its own, so that ALTER DEFAULT PRIVILEGES decides about it: nothing.
SELECT oid::regprocedure::text AS object FROM member JOIN pg_proc ON classid = 'pg_proc'::regclass AND objid = oid WHERE proacl IS NULL
UNION ALL
SELECT oid::regtype::text FROM member JOIN pg_type ON classid = 'pg_type'::regclass AND objid = oid WHERE typacl IS NULL;

-- Classes of objects: one that is new here needs a line in the queries of this file.
SELECT DISTINCT type FROM member, pg_identify_object(classid, objid, 0) ORDER BY type;

-- Relations, and what pg_monitor may with them.
SELECT oid::regclass AS relation, relkind, relpersistence, has_table_privilege('pg_monitor', oid, 'SELECT') AS "select",
       has_table_privilege('pg_monitor', oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS write
  FROM member JOIN pg_class ON classid = 'pg_class'::regclass AND objid = oid ORDER BY oid::regclass::text COLLATE "C";

-- Functions: volatility, parallel label, NULLs, whose rights, settings, and whether pg_monitor may call them.
SELECT oid::regprocedure AS function, provolatile AS volatility, proparallel AS parallel, proisstrict AS strict,
       prosecdef AS definer, proconfig AS settings, has_function_privilege('pg_monitor', oid, 'EXECUTE') AS monitor
  FROM member JOIN pg_proc ON classid = 'pg_proc'::regclass AND objid = oid ORDER BY oid::regprocedure::text COLLATE "C";

-- What lacks a comment: nothing.
SELECT identity FROM member, pg_identify_object(classid, objid, 0) WHERE obj_description(objid, classid::regclass::name) IS NULL
UNION ALL
SELECT attrelid::regclass || '.' || attname FROM member JOIN pg_attribute ON classid = 'pg_class'::regclass AND objid = attrelid
  WHERE attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL
UNION ALL
SELECT tgrelid::regclass || '.' || tgname FROM member JOIN pg_trigger ON classid = 'pg_class'::regclass AND objid = tgrelid
  WHERE NOT tgisinternal AND obj_description(pg_trigger.oid, 'pg_trigger') IS NULL;

-- Triggers fire on subscribers and in restores too.
SELECT tgrelid::regclass AS relation, tgname AS trigger, tgenabled AS enabled
  FROM member JOIN pg_trigger ON classid = 'pg_class'::regclass AND objid = tgrelid WHERE NOT tgisinternal ORDER BY 1, 2;

-- Settings: what each is for, and when it can change.
SELECT name, context, vartype, unit, min_val, max_val, boot_val, short_desc <> '' AS described
  FROM pg_settings WHERE name LIKE 'wbcache.%' ORDER BY name COLLATE "C";

-- The extension can't be moved to another schema, and its table of endpoints is dumped.
SELECT extrelocatable, extnamespace::regnamespace, extconfig::regclass[], extcondition FROM pg_extension WHERE extname = 'wbcache';
ALTER EXTENSION wbcache SET SCHEMA public;

-- Only a superuser creates it: the functions are in C.
SELECT superuser, trusted, relocatable, schema FROM pg_available_extension_versions WHERE name = 'wbcache' AND installed;
