SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "race",
  q.c2 AS "time",
  q.l2 AS "time__lo",
  (CASE
      WHEN q.c2 IS NULL THEN NULL
      WHEN octet_length(q.c2) > 22 THEN q.l2 + interval '1 microsecond'
      ELSE CASE octet_length(q.c2)
      WHEN 10 THEN q.l2 + interval '24 hours'
      WHEN 7 THEN q.l2 + interval '1 mon'
      WHEN 4 THEN q.l2 + interval '1 year'
      WHEN 16 THEN q.l2 + interval '1 minute'
      WHEN 17 THEN q.l2 + interval '1 minute'
      WHEN 22 THEN q.l2 + CASE
      WHEN substr(q.c2, 17, 1) = ':' THEN interval '1 microsecond'
      ELSE interval '1 minute' END
      WHEN 13 THEN q.l2 + interval '1 hour'
      WHEN 14 THEN q.l2 + interval '1 hour'
      WHEN 19 THEN q.l2 + CASE
      WHEN substr(q.c2, 14, 1) = ':' THEN interval '1 microsecond'
      ELSE interval '1 hour' END
      ELSE q.l2 + interval '1 microsecond' END END) AS "time__hi",
  q.c3 AS "has"
FROM (
  SELECT p.*,
    (CASE
        WHEN p.c2 IS NULL THEN NULL
        WHEN octet_length(p.c2) > 19 THEN p.c2::timestamptz
        ELSE CASE octet_length(p.c2)
        WHEN 10 THEN p.c2::timestamptz
        WHEN 7 THEN (p.c2 || '-01')::timestamptz
        WHEN 4 THEN (p.c2 || '-01-01')::timestamptz
        WHEN 13 THEN (p.c2 || ':00')::timestamptz
        WHEN 14 THEN (left(p.c2, 13) || ':00Z')::timestamptz
        WHEN 19 THEN (left(p.c2, 13) || CASE
        WHEN substr(p.c2, 14, 1) = ':' THEN ''
        ELSE ':00' END || substr(p.c2, 14))::timestamptz
        ELSE p.c2::timestamptz END END) AS l2
  FROM (
    SELECT d.res_id AS _res_id,
      d.id AS _id,
      1 AS _ord,
      (d.id)::text COLLATE "C" AS c0,
      (((
      SELECT g.v
      FROM (
        SELECT coalesce((s.v -> 'valueString'), 'null')
        FROM jsonb_path_query((d.v -> 'extension'), '$[*] ? (@.url == $c0)."extension"[*] ? (@.url == $c1)', $1::jsonb) AS s(v)
        WHERE s.v ?| ARRAY['valueString', '_valueString']
      ) AS g(v)
    ) #>> '{}'))::text COLLATE "C" AS c1,
      (((
      SELECT g.v
      FROM (
        SELECT coalesce((s.v -> 'valueDateTime'), 'null')
        FROM jsonb_path_query(((d.v -> '_birthDate') -> 'extension'), '$[*] ? (@.url == $c0)', $2::jsonb) AS s(v)
        WHERE s.v ?| ARRAY['valueDateTime', '_valueDateTime']
      ) AS g(v)
    ) #>> '{}'))::text COLLATE "C" AS c2,
      ((jsonb_path_query_first(d.v, '$."extension"[*] ? (@.url == $c0)', $3::jsonb) IS NOT NULL))::boolean AS c3
    FROM (
      SELECT s.res_id,
        s.id,
        s.meta,
        s.text::jsonb AS v
      FROM resources AS s
      OFFSET 0
    ) AS d
    OFFSET 0
  ) AS p
  OFFSET 0
) AS q
-- $1 = '{"c0": "race", "c1": "text"}'
-- $2 = '{"c0": "time"}'
-- $3 = '{"c0": "race"}'
