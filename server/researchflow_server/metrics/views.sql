-- Freshness of each published view. The newest anchor dates them all but those that are set aside:
-- what these lack is not known.
SELECT c.view_name,
       c.resource_type,
       a.anchor,
       a.data_as_of,
       s.checked_at,
       CASE WHEN aside.view_name IS NULL THEN s.pending END AS pending,
       CASE WHEN aside.view_name IS NULL THEN s.oldest_pending_at END AS oldest_pending_at,
       (SELECT count(DISTINCT (d.res_type, d.id))
        FROM researchflow.dead_letter d WHERE d.view_name = c.view_name) AS dead_letters,
       aside.reason AS set_aside
FROM researchflow.view_catalogue c
LEFT JOIN researchflow.source_check s ON s.res_type = c.resource_type
LEFT JOIN researchflow.set_aside aside ON aside.view_name = c.view_name
LEFT JOIN LATERAL (
    SELECT anchor, data_as_of FROM researchflow.anchor
    WHERE aside.view_name IS NULL OR anchor <= aside.after_anchor
    ORDER BY anchor DESC LIMIT 1
) a ON true
ORDER BY c.view_name;
