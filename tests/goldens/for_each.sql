SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "i",
  q.c2 AS "family",
  q.c3 AS "given"
FROM (
  SELECT d.res_id AS _res_id,
    d.id AS _id,
    coalesce(f0.n, 1)::integer AS _ord,
    (d.id)::text COLLATE "C" AS c0,
    (coalesce(f0.n - 1, 0)::integer)::integer AS c1,
    ((f0.v ->> 'family'))::text COLLATE "C" AS c2,
    (CASE
        WHEN (f0.v -> 'given') -> 1 IS NULL THEN (f0.v -> 'given') ->> 0
        WHEN (f0.v -> 'given') -> 2 IS NULL THEN coalesce(((f0.v -> 'given') ->> 0) || $1::text || ((f0.v -> 'given') ->> 1), (
    SELECT string_agg(j.v #>> '{}', $1::text ORDER BY j.n)
    FROM jsonb_path_query((f0.v -> 'given'), '$[*] ? (@ != null)') WITH ORDINALITY AS j(v, n)
  )) ELSE (
    SELECT string_agg(j.v #>> '{}', $1::text ORDER BY j.n)
    FROM jsonb_path_query((f0.v -> 'given'), '$[*] ? (@ != null)') WITH ORDINALITY AS j(v, n)
  ) END)::text COLLATE "C" AS c3
  FROM (
    SELECT s.res_id,
      s.id,
      s.meta,
      s.text::jsonb AS v
    FROM resources AS s
    WHERE (split_part(s.text, $2::text, 1) <> s.text OR strpos(s.text, E'\\') > 0)
    OFFSET 0
  ) AS d
  CROSS JOIN LATERAL jsonb_path_query((d.v -> 'name'), '$[*]') WITH ORDINALITY AS f0(v, n)
) AS q
-- $1 = ' '
-- $2 = '"name"'
