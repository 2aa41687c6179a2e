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
    ((jsonb_path_query_first(d.v, '$."code"."coding"[*] ? (((@."system" == $c0) && (@."code" == $c1)))', $2::jsonb) IS NOT NULL))::boolean AS c2,
    ($3::text)::text COLLATE "C" AS c3
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
) AS q
-- $1 = '7.5'
-- $2 = '{"c0": "http://loinc.org", "c1": "x"}'
-- $3 = "it's"
