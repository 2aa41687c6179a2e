SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "given",
  q.c2 AS "name",
  q.c3 AS "family",
  q.c4 AS "n"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    1 AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    ((
    SELECT coalesce(jsonb_agg(a.v ORDER BY a.n), '[]')
    FROM (
      SELECT r.v,
        row_number() OVER () AS n
      FROM (
        SELECT t.v
        FROM jsonb_path_query((d.v -> 'name'), '$[*]') AS s(v)
        CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN s.v -> '_given' IS NULL THEN s.v -> 'given' ELSE (
          SELECT jsonb_agg(g.v)
          FROM (
            SELECT coalesce(p.v, 'null'),
              p.x
            FROM (
              SELECT n.n,
                s.v -> 'given' -> n.n AS v,
                nullif(s.v -> '_given' -> n.n, 'null') AS x
              FROM generate_series(0, greatest(jsonb_array_length(s.v -> 'given'), jsonb_array_length(s.v -> '_given')) - 1) AS n(n)
            ) AS p
            WHERE p.v IS NOT NULL OR p.x IS NOT NULL
            ORDER BY p.n
          ) AS g(v, x)
        ) END) AS t(v)
      ) AS r(v)
    ) AS a(v, n)
  ))::jsonb AS c1,
    (coalesce(jsonb_path_query_array(d.v, '$."name"[*]'), '[]'))::jsonb AS c2,
    (((
    SELECT g.v
    FROM (
      SELECT coalesce((s.v -> 'family'), 'null')
      FROM jsonb_path_query((d.v -> 'name'), '$[*]') AS s(v)
      WHERE s.v ?| ARRAY['family', '_family']
    ) AS g(v)
  ) #>> '{}'))::text COLLATE "C" AS c3,
    ((
    SELECT count(*)::integer
    FROM (
      SELECT t.v
      FROM jsonb_path_query((d.v -> 'name'), '$[*]') AS s(v)
      CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN s.v -> '_given' IS NULL THEN s.v -> 'given' ELSE (
        SELECT jsonb_agg(g.v)
        FROM (
          SELECT coalesce(p.v, 'null'),
            p.x
          FROM (
            SELECT n.n,
              s.v -> 'given' -> n.n AS v,
              nullif(s.v -> '_given' -> n.n, 'null') AS x
            FROM generate_series(0, greatest(jsonb_array_length(s.v -> 'given'), jsonb_array_length(s.v -> '_given')) - 1) AS n(n)
          ) AS p
          WHERE p.v IS NOT NULL OR p.x IS NOT NULL
          ORDER BY p.n
        ) AS g(v, x)
      ) END) AS t(v)
    ) AS c(v)
  ))::integer AS c4
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
) AS q
