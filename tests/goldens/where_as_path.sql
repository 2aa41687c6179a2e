SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "family",
  q.c2 AS "phones"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    1 AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    (((jsonb_path_query_first(d.v, '$."name"[*] ? (((@."use" == $c0) && !(exists(@."period")))) ? (exists(@."family") || exists(@."_family"))', $1::jsonb) -> 'family') #>> '{}'))::text COLLATE "C" AS c1,
    ((
    SELECT coalesce(jsonb_agg(a.v ORDER BY a.n), '[]')
    FROM (
      SELECT r.v,
        row_number() OVER () AS n
      FROM (
        SELECT coalesce((s.v -> 'value'), 'null')
        FROM jsonb_path_query((d.v -> 'telecom'), '$[*] ? ((@."system" == $c0))', $2::jsonb) AS s(v)
        WHERE s.v ?| ARRAY['value', '_value']
      ) AS r(v)
    ) AS a(v, n)
  ))::jsonb AS c2
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    WHERE (split_part(s.text, $3::text, 1) <> s.text OR strpos(s.text, E'\\') > 0)
    OFFSET 0
  ) AS d
  WHERE (((d.v ->> 'gender') COLLATE "C" = $3::text COLLATE "C"))
) AS q
-- $1 = '{"c0": "official"}'
-- $2 = '{"c0": "phone"}'
-- $3 = 'female'
