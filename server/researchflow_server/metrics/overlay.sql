-- Changes that count now, by type and by who vouches for them.
SELECT res_type, origin, count(*) AS entries
FROM researchflow.overlay_entry
WHERE valid_from <= now() AND now() < valid_until
GROUP BY res_type, origin
ORDER BY res_type, origin;
