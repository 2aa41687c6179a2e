SELECT q._res_id,
  q._id,
  q._ord,
  q.c0 AS "id",
  q.c1 AS "birthDate",
  q.l1 AS "birthDate__lo",
  (CASE
      WHEN q.c1 IS NULL THEN NULL
      WHEN octet_length(q.c1) > 22 THEN q.l1 + interval '1 microsecond'
      ELSE CASE octet_length(q.c1)
      WHEN 10 THEN q.l1 + interval '24 hours'
      WHEN 7 THEN q.l1 + interval '1 mon'
      WHEN 4 THEN q.l1 + interval '1 year'
      WHEN 16 THEN q.l1 + interval '1 minute'
      WHEN 17 THEN q.l1 + interval '1 minute'
      WHEN 22 THEN q.l1 + CASE
      WHEN substr(q.c1, 17, 1) = ':' THEN interval '1 microsecond'
      ELSE interval '1 minute' END
      WHEN 13 THEN q.l1 + interval '1 hour'
      WHEN 14 THEN q.l1 + interval '1 hour'
      WHEN 19 THEN q.l1 + CASE
      WHEN substr(q.c1, 14, 1) = ':' THEN interval '1 microsecond'
      ELSE interval '1 hour' END
      ELSE q.l1 + interval '1 microsecond' END END) AS "birthDate__hi",
  q.c2 AS "dead",
  q.l2 AS "dead__lo",
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
      ELSE q.l2 + interval '1 microsecond' END END) AS "dead__hi",
  q.c3 AS "adult"
FROM (
  SELECT p.*,
    (CASE
        WHEN p.c1 IS NULL THEN NULL
        WHEN octet_length(p.c1) > 19 THEN p.c1::timestamptz
        ELSE CASE octet_length(p.c1)
        WHEN 10 THEN p.c1::timestamptz
        WHEN 7 THEN (p.c1 || '-01')::timestamptz
        WHEN 4 THEN (p.c1 || '-01-01')::timestamptz
        WHEN 13 THEN (p.c1 || ':00')::timestamptz
        WHEN 14 THEN (left(p.c1, 13) || ':00Z')::timestamptz
        WHEN 19 THEN (left(p.c1, 13) || CASE
        WHEN substr(p.c1, 14, 1) = ':' THEN ''
        ELSE ':00' END || substr(p.c1, 14))::timestamptz
        ELSE p.c1::timestamptz END END) AS l1,
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
      ((d.v ->> 'birthDate'))::text COLLATE "C" AS c1,
      ((d.v ->> 'deceasedDateTime'))::text COLLATE "C" AS c2,
      ((
      SELECT CASE
          WHEN h.lh <= h.rl THEN true
          WHEN h.ll >= h.rh THEN false
          WHEN h.ll = h.rl AND h.lh = h.rh THEN false END
      FROM (
        SELECT (d.v ->> 'birthDate') AS l,
          $1::text AS r
        OFFSET 0
      ) AS t
      CROSS JOIN LATERAL (
        SELECT t.l,
          t.r,
          (CASE
              WHEN t.l IS NULL THEN NULL
              WHEN octet_length(t.l) > 19 THEN t.l::timestamptz
              ELSE CASE octet_length(t.l)
              WHEN 10 THEN t.l::timestamptz
              WHEN 7 THEN (t.l || '-01')::timestamptz
              WHEN 4 THEN (t.l || '-01-01')::timestamptz
              WHEN 13 THEN (t.l || ':00')::timestamptz
              WHEN 14 THEN (left(t.l, 13) || ':00Z')::timestamptz
              WHEN 19 THEN (left(t.l, 13) || CASE
              WHEN substr(t.l, 14, 1) = ':' THEN ''
              ELSE ':00' END || substr(t.l, 14))::timestamptz
              ELSE t.l::timestamptz END END) AS ll,
          (CASE
              WHEN t.r IS NULL THEN NULL
              WHEN octet_length(t.r) > 19 THEN t.r::timestamptz
              ELSE CASE octet_length(t.r)
              WHEN 10 THEN t.r::timestamptz
              WHEN 7 THEN (t.r || '-01')::timestamptz
              WHEN 4 THEN (t.r || '-01-01')::timestamptz
              WHEN 13 THEN (t.r || ':00')::timestamptz
              WHEN 14 THEN (left(t.r, 13) || ':00Z')::timestamptz
              WHEN 19 THEN (left(t.r, 13) || CASE
              WHEN substr(t.r, 14, 1) = ':' THEN ''
              ELSE ':00' END || substr(t.r, 14))::timestamptz
              ELSE t.r::timestamptz END END) AS rl
        OFFSET 0
      ) AS s
      CROSS JOIN LATERAL (
        SELECT s.l,
          s.r,
          s.ll,
          s.rl,
          (CASE
              WHEN s.l IS NULL THEN NULL
              WHEN octet_length(s.l) > 22 THEN s.ll + interval '1 microsecond'
              ELSE CASE octet_length(s.l)
              WHEN 10 THEN s.ll + interval '24 hours'
              WHEN 7 THEN s.ll + interval '1 mon'
              WHEN 4 THEN s.ll + interval '1 year'
              WHEN 16 THEN s.ll + interval '1 minute'
              WHEN 17 THEN s.ll + interval '1 minute'
              WHEN 22 THEN s.ll + CASE
              WHEN substr(s.l, 17, 1) = ':' THEN interval '1 microsecond'
              ELSE interval '1 minute' END
              WHEN 13 THEN s.ll + interval '1 hour'
              WHEN 14 THEN s.ll + interval '1 hour'
              WHEN 19 THEN s.ll + CASE
              WHEN substr(s.l, 14, 1) = ':' THEN interval '1 microsecond'
              ELSE interval '1 hour' END
              ELSE s.ll + interval '1 microsecond' END END) AS lh,
          (CASE
              WHEN s.r IS NULL THEN NULL
              WHEN octet_length(s.r) > 22 THEN s.rl + interval '1 microsecond'
              ELSE CASE octet_length(s.r)
              WHEN 10 THEN s.rl + interval '24 hours'
              WHEN 7 THEN s.rl + interval '1 mon'
              WHEN 4 THEN s.rl + interval '1 year'
              WHEN 16 THEN s.rl + interval '1 minute'
              WHEN 17 THEN s.rl + interval '1 minute'
              WHEN 22 THEN s.rl + CASE
              WHEN substr(s.r, 17, 1) = ':' THEN interval '1 microsecond'
              ELSE interval '1 minute' END
              WHEN 13 THEN s.rl + interval '1 hour'
              WHEN 14 THEN s.rl + interval '1 hour'
              WHEN 19 THEN s.rl + CASE
              WHEN substr(s.r, 14, 1) = ':' THEN interval '1 microsecond'
              ELSE interval '1 hour' END
              ELSE s.rl + interval '1 microsecond' END END) AS rh
        OFFSET 0
      ) AS h
    ))::boolean AS c3
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
-- $1 = '2000-06'
