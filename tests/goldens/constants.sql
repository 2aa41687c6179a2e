SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "high",
  q.c2 AS "in_system",
  q.c3 AS "label"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    1 AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    (((((d.v -> 'valueQuantity') -> 'value'))::numeric > ($1::text)::numeric))::boolean AS c1,
    ((CASE
        WHEN (((k2.s0 ->> 'system') COLLATE "C" = $2::text COLLATE "C") AND ((k2.s0 ->> 'code') COLLATE "C" = $3::text COLLATE "C")) THEN k2.s0
        WHEN (k1.s0 -> 'coding') -> 1 IS NULL THEN NULL
        ELSE jsonb_path_query_first(k1.s0, '$."coding"[*] ? (((@."system" == $c0) && (@."code" == $c1)))', $4::jsonb) END IS NOT NULL))::boolean AS c2,
    ($5::text)::text COLLATE "C" AS c3
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
  CROSS JOIN LATERAL (
    SELECT (d.v -> 'code') AS s0
    OFFSET 0
  ) AS k1
  CROSS JOIN LATERAL (
    SELECT ((k1.s0 -> 'coding') -> 0) AS s0
    OFFSET 0
  ) AS k2
) AS q
-- $1 = '7.5'
-- $2 = 'http://loinc.org'
-- $3 = 'x'
-- $4 = '{"c0": "http://loinc.org", "c1": "x"}'
-- $5 = "it's"
