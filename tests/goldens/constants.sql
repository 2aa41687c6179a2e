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
        WHEN (((d.s2 ->> 'system') COLLATE "C" = $2::text COLLATE "C") AND ((d.s2 ->> 'code') COLLATE "C" = $3::text COLLATE "C")) THEN d.s2
        WHEN (d.s1 -> 'coding') -> 1 IS NULL THEN NULL
        ELSE jsonb_path_query_first(d.s1, '$."coding"[*] ? (((@."system" == $c0) && (@."code" == $c1)))', $4::jsonb) END IS NOT NULL))::boolean AS c2,
    ($5::text)::text COLLATE "C" AS c3
  FROM (
    SELECT d.*,
      ((d.s1 -> 'coding') -> 0) AS s2
    FROM (
      SELECT d.*,
        (d.v -> 'code') AS s1
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
    OFFSET 0
  ) AS d
) AS q
-- $1 = '7.5'
-- $2 = 'http://loinc.org'
-- $3 = 'x'
-- $4 = '{"c0": "http://loinc.org", "c1": "x"}'
-- $5 = "it's"
