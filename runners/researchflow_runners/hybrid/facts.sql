-- What is known about the views of one question, in one round trip of the snapshot that also
-- reads its rows. $1 view names, $2 resource types, $3 the type of the asked view's rows. Subqueries
-- hide how many there are: PostgreSQL then plans it once, not at each call.
WITH waiting AS (
    SELECT t.res_type, w.entries, w.provisional, w.entries = w.held AS all_count
    FROM unnest((SELECT $2::text[])) AS t (res_type)
    CROSS JOIN LATERAL (
        SELECT count(*) AS held,
               count(*) FILTER (WHERE e.counts) AS entries,
               count(*) FILTER (WHERE e.counts AND e.origin <> 'source') AS provisional
        FROM (SELECT origin, valid_from <= now() AND now() < valid_until AS counts
              FROM researchflow.overlay_entry WHERE res_type = t.res_type) AS e) AS w
    WHERE w.entries > 0
)
SELECT
    now() AS computed_at,
    -- Changes with everything that is created, dropped, redefined or refreshed.
    (SELECT md5(string_agg(concat_ws(' ', c.view_name, c.digest, c.base_table), ','
                           ORDER BY c.view_name))
     FROM (SELECT view_name, digest, base_table FROM researchflow.view_catalogue
           UNION ALL
           SELECT view_name, digest, fault FROM researchflow.composed_view
           WHERE expires_at IS NULL OR expires_at > now()
           UNION ALL
           SELECT view_name, 'set aside', after_anchor::text FROM researchflow.set_aside) AS c)
        AS catalogue_state,
    a.anchor,
    a.data_as_of,
    checked.types AS checked_types,
    checked.checked_at,
    checked.pending,
    checked.oldest_pending_at,
    (SELECT p.seen_at FROM researchflow.feed_position AS p
     WHERE p.reader = 'tail' AND p.types @> (SELECT $2::text[])) AS followed_at,
    overlay.entries,
    overlay.types,
    overlay.all_count_types,
    overlay.own_entries,
    overlay.provisional,
    (SELECT verdict FROM researchflow.source_clock) AS clock_verdict,
    -- A newer version that waits in the overlay makes up for a dead letter of the batch layer.
    (SELECT count(DISTINCT (d.res_type, d.id))
     FROM researchflow.dead_letter AS d
     WHERE d.view_name = ANY ((SELECT $1::text[])::text[])
       AND (d.layer = 'speed') = EXISTS (
           SELECT FROM researchflow.overlay_entry AS e
           WHERE e.res_type = d.res_type AND e.id = d.id
             AND (d.layer = 'batch' OR e.version = d.res_ver)
             AND e.valid_from <= now() AND now() < e.valid_until)) AS missing_live,
    (SELECT count(DISTINCT (d.res_type, d.id))
     FROM researchflow.dead_letter AS d
     WHERE d.view_name = ANY ((SELECT $1::text[])::text[]) AND d.layer = 'batch') AS missing_batch
FROM (SELECT coalesce(sum(entries), 0)::bigint AS entries,
             coalesce(array_agg(res_type), '{}') AS types,
             coalesce(array_agg(res_type) FILTER (WHERE all_count), '{}') AS all_count_types,
             coalesce(sum(entries) FILTER (WHERE res_type = $3), 0)::bigint AS own_entries,
             coalesce(sum(provisional), 0)::bigint AS provisional
      FROM waiting) AS overlay,
     (SELECT count(*) AS types,
             min(checked_at) AS checked_at,
             sum(pending)::bigint AS pending,
             min(oldest_pending_at) AS oldest_pending_at
      FROM researchflow.source_check
      WHERE res_type = ANY ((SELECT $2::text[])::text[])) AS checked
LEFT JOIN LATERAL (
    SELECT anchor, data_as_of FROM researchflow.anchor ORDER BY anchor DESC LIMIT 1
) AS a ON true
