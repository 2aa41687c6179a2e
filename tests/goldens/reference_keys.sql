SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "patient_id",
  q.c2 AS "any_id",
  q.c3 AS "performers"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    1 AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    (CASE
        WHEN d.s1 LIKE $1::text AND (d.s1 NOT LIKE $2::text OR split_part(d.s1, '/', 3) IN ('', '_history')) THEN nullif(split_part(d.s1, '/', 2), '') END)::text COLLATE "C" AS c1,
    (CASE
        WHEN d.s1 ~ $3::text OR d.s1 LIKE '%/\_history/%' AND d.s1 ~ $4::text THEN split_part(d.s1, '/', 2) END)::text COLLATE "C" AS c2,
    ((
    SELECT coalesce(jsonb_agg(a.v ORDER BY a.n), '[]')
    FROM (
      SELECT r.v,
        row_number() OVER () AS n
      FROM (
        SELECT p.v
        FROM jsonb_path_query((d.v -> 'performer'), '$[*]') AS i0(v)
        CROSS JOIN LATERAL (
          SELECT i.v
          FROM (
            SELECT to_jsonb(CASE
                WHEN (i0.v ->> 'reference') LIKE $5::text AND ((i0.v ->> 'reference') NOT LIKE $6::text OR split_part((i0.v ->> 'reference'), '/', 3) IN ('', '_history')) THEN nullif(split_part((i0.v ->> 'reference'), '/', 2), '') END) AS v
          ) AS i
          WHERE i.v IS NOT NULL
        ) AS p(v)
      ) AS r(v)
    ) AS a(v, n)
  ))::jsonb AS c3
  FROM (
    SELECT d.*,
      ((d.v -> 'subject') ->> 'reference') AS s1
    FROM (
      SELECT s.res_id,
        s.id,
        s.meta,
        s.text::jsonb AS v
      FROM resources AS s
      OFFSET 0
    ) AS d
    OFFSET 0
  ) AS d
) AS q
-- $1 = 'Patient/%'
-- $2 = 'Patient/%/%'
-- $3 = '^[A-Z][A-Za-z]*/[A-Za-z0-9.-]+$'
-- $4 = '^[A-Z][A-Za-z]*/[A-Za-z0-9.-]+/_history/[A-Za-z0-9.-]+$'
-- $5 = 'Practitioner/%'
-- $6 = 'Practitioner/%/%'
