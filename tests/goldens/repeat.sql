SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "i",
  q.c2 AS "linkId",
  q.c3 AS "n"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    coalesce(f0.n, 1)::integer AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    (coalesce(f0.n - 1, 0)::integer)::integer AS c1,
    ((f0.v ->> 'linkId'))::text COLLATE "C" AS c2,
    (nullif((
    SELECT coalesce((p.v -> 'valueInteger'), 'null')
    FROM (
      SELECT jsonb_path_query_first(f0.v, '$."answer"[*] ? (exists(@."valueInteger") || exists(@."_valueInteger"))') AS v
      OFFSET 0
    ) AS p
    WHERE p.v IS NOT NULL
  ), 'null')::numeric)::text::integer AS c3
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
  CROSS JOIN LATERAL (
    SELECT t.v,
      row_number() OVER () AS n
    FROM (
      SELECT x.v
      FROM (
        SELECT jsonb_path_query((d.v -> 'item'), '$[*]') AS v
      ) AS w1(v)
      CROSS JOIN LATERAL (
        SELECT w1.v
        UNION ALL
        SELECT y.v
        FROM (
          WITH RECURSIVE w(v, place) AS (
            SELECT b.v,
              ARRAY[0::bigint, b.n] AS place
            FROM jsonb_path_query((w1.v -> 'item'), '$[*]') WITH ORDINALITY AS b(v, n)
            UNION ALL
            SELECT b.v,
              ARRAY[1::bigint, b.n] AS place
            FROM jsonb_path_query((w1.v -> 'answer'), '$[*]."item"[*]') WITH ORDINALITY AS b(v, n)
            UNION ALL
            SELECT c.v,
              w.place || c.place
            FROM w
            CROSS JOIN LATERAL (
              SELECT b.v,
                ARRAY[0::bigint, b.n] AS place
              FROM jsonb_path_query((w.v -> 'item'), '$[*]') WITH ORDINALITY AS b(v, n)
              UNION ALL
              SELECT b.v,
                ARRAY[1::bigint, b.n] AS place
              FROM jsonb_path_query((w.v -> 'answer'), '$[*]."item"[*]') WITH ORDINALITY AS b(v, n)
            ) AS c(v, place)
          )
          SELECT w.v,
            row_number() OVER (ORDER BY w.place) AS n
          FROM w
          ORDER BY w.place
        ) AS y(v, n)
        WHERE ((w1.v -> 'answer') IS NOT NULL OR (w1.v -> 'item') IS NOT NULL)
      ) AS x(v)
      WHERE ((d.v -> 'item') IS NOT NULL)
    ) AS t(v)
  ) AS f0(v, n)
) AS q
