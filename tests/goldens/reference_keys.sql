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
        WHEN starts_with(((d.v -> 'subject') ->> 'reference'), $1::text) AND split_part(((d.v -> 'subject') ->> 'reference'), '/', 3) IN ('', '_history') THEN nullif(split_part(((d.v -> 'subject') ->> 'reference'), '/', 2), '') END)::text COLLATE "C" AS c1,
    (CASE
        WHEN ((d.v -> 'subject') ->> 'reference') ~ $2::text THEN split_part(((d.v -> 'subject') ->> 'reference'), '/', 2) END)::text COLLATE "C" AS c2,
    ((
    SELECT coalesce(jsonb_agg(a.v ORDER BY a.n), '[]')
    FROM (
      SELECT r.v,
        row_number() OVER () AS n
      FROM (
        SELECT p.v
        FROM jsonb_path_query(d.v, '$."performer"[*]') AS i0(v)
        CROSS JOIN LATERAL (
          SELECT i.v
          FROM (
            SELECT to_jsonb(CASE
                WHEN starts_with((i0.v ->> 'reference'), $3::text) AND split_part((i0.v ->> 'reference'), '/', 3) IN ('', '_history') THEN nullif(split_part((i0.v ->> 'reference'), '/', 2), '') END) AS v
          ) AS i
          WHERE i.v IS NOT NULL
        ) AS p(v)
      ) AS r(v)
    ) AS a(v, n)
  ))::jsonb AS c3
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
) AS q
-- $1 = 'Patient/'
-- $2 = '^[A-Z][A-Za-z]*/[A-Za-z0-9.-]+(/_history/[A-Za-z0-9.-]+)?$'
-- $3 = 'Practitioner/'
