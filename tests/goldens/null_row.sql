SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "gender",
  q.c2 AS "i",
  q.c3 AS "value"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    x._ord AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    x.c1 AS c1,
    x.c2 AS c2,
    x.c3 AS c3
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
      u2.c0 AS c1,
      coalesce(u2.c1, 0) AS c2,
      u2.c2 AS c3
    FROM (SELECT) AS o
    LEFT JOIN LATERAL (
      SELECT true AS present,
        ((f0.v ->> 'gender'))::text COLLATE "C" AS c0,
        (coalesce(f1.n - 1, 0)::integer)::integer AS c1,
        ((f1.v ->> 'value'))::text COLLATE "C" AS c2
      FROM (SELECT) AS o
      CROSS JOIN LATERAL (
        SELECT jsonb_path_query((d.v -> 'contact'), '$[*]') AS v
      ) AS f0(v)
      CROSS JOIN LATERAL jsonb_path_query((f0.v -> 'telecom'), '$[*]') WITH ORDINALITY AS f1(v, n)
    ) AS u2 ON true
    WHERE (u2.present OR NOT coalesce(jsonb_path_exists(d.v, '$."contact"[*]'), false))
  ) AS x
) AS q
