-- What the source is and what its outbox can do, as the reading transaction sees both.
WITH hapi AS (
    SELECT c.oid, c.relname FROM pg_class AS c
    WHERE c.oid = ANY (ARRAY[to_regclass('hfj_resource'), to_regclass('hfj_res_ver'),
                             to_regclass('hfj_res_tag')]::oid[])
), outbox AS (
    SELECT c.oid, has_schema_privilege(n.oid, 'USAGE')
                  AND has_table_privilege(c.oid, 'SELECT')
                  AND has_table_privilege(c.oid, 'DELETE') AS readable
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'researchflow_outbox' AND c.relname = 'change'
), fired AS (
    SELECT h.relname || '.' || t.tgname AS name, t.oid, t.xmin, t.tgenabled IN ('O', 'A') AS fires
    FROM hapi AS h JOIN pg_trigger AS t ON t.tgrelid = h.oid
    WHERE NOT t.tgisinternal AND t.tgname LIKE 'researchflow\_%'
)
SELECT pg_is_in_recovery() AS is_replica,
       pg_current_snapshot()::text AS snapshot,
       (SELECT system_identifier::text FROM pg_control_system()) AS system,
       CASE WHEN NOT pg_is_in_recovery()
            THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
       (SELECT oid::text FROM pg_database WHERE datname = current_database()) AS database,
       (SELECT string_agg(concat_ws(':', relname, oid), ' ' ORDER BY relname) FROM hapi) AS tables,
       (SELECT oid::text FROM outbox) AS outbox,
       (SELECT readable FROM outbox) AS readable,
       (SELECT string_agg(concat_ws(':', name, oid, xmin), ' ' ORDER BY name) FROM fired)
           AS triggers,
       coalesce((SELECT array_agg(name) FROM fired WHERE fires), '{}') AS firing
