SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "gender",
  q.c2 AS "active",
  q.c3 AS "n",
  q.c4 AS "meta"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    1 AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    ((d.v ->> 'gender'))::text COLLATE "C" AS c1,
    (((d.v -> 'active'))::boolean)::boolean AS c2,
    (((d.v -> 'multipleBirthInteger'))::numeric)::text::integer AS c3,
    ((coalesce(d.meta, d.v -> 'meta') ->> 'versionId'))::text COLLATE "C" AS c4
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    OFFSET 0
  ) AS d
) AS q
