SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "v"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    x._ord AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    x.c1 AS c1
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
  CROSS JOIN LATERAL (
    SELECT row_number() OVER ()::integer AS _ord,
      u2.c0 AS c1
    FROM (SELECT) AS o
    CROSS JOIN LATERAL (
      SELECT ((f0.v ->> 'value'))::text COLLATE "C" AS c0
      FROM (SELECT) AS o
      CROSS JOIN LATERAL (
        SELECT jsonb_path_query((d.v -> 'telecom'), '$[*]') AS v
      ) AS f0(v)
      UNION ALL
      SELECT ((f1.v ->> 'value'))::text COLLATE "C" AS c0
      FROM (SELECT) AS o
      CROSS JOIN LATERAL (
        SELECT jsonb_path_query((d.v -> 'contact'), '$[*]."telecom"[*]') AS v
      ) AS f1(v)
      UNION ALL
      SELECT (d.id)::text COLLATE "C" AS c0
      FROM (SELECT) AS o
    ) AS u2
  ) AS x
) AS q
