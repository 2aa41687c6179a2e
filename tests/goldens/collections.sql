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
    (coalesce(jsonb_path_query_array(d.v, '$."name"[*]."given"[*] ? (@ != null)'), '[]'))::jsonb AS c1,
    (coalesce(jsonb_path_query_array(d.v, '$."name"[*]'), '[]'))::jsonb AS c2,
    (((
    SELECT g.v
    FROM jsonb_path_query((d.v -> 'name'), '$[*]."family"') AS g(v)
  ) #>> '{}'))::text COLLATE "C" AS c3,
    (jsonb_array_length(coalesce(jsonb_path_query_array(d.v, '$."name"[*]."given"[*] ? (@ != null)'), '[]')))::integer AS c4
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
) AS q
