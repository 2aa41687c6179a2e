-- Freshness of each published view. The newest anchor dates them all.
SELECT c.view_name,
       c.resource_type,
       a.anchor,
       a.data_as_of,
       s.checked_at,
       s.pending,
       s.oldest_pending_at,
       (SELECT count(DISTINCT (d.res_type, d.id))
        FROM researchflow.dead_letter d WHERE d.view_name = c.view_name) AS dead_letters
FROM researchflow.view_catalogue c
LEFT JOIN researchflow.source_check s ON s.res_type = c.resource_type
LEFT JOIN LATERAL (
    SELECT anchor, data_as_of FROM researchflow.anchor ORDER BY anchor DESC LIMIT 1
) a ON true
ORDER BY c.view_name;
