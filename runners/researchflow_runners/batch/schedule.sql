-- Everything that decides when the next refresh is due, as of now. $1: seconds after its last word
-- at which a refresher counts as stopped.
WITH success AS (
    SELECT run_id, finished_at - started_at AS took FROM researchflow.refresh_run
    WHERE outcome IN ('published', 'unchanged') ORDER BY run_id DESC LIMIT 1
), last AS (
    SELECT outcome, finished_at FROM researchflow.refresh_run
    WHERE outcome <> 'running' ORDER BY run_id DESC LIMIT 1
)
SELECT clock_timestamp() AS now,
       EXISTS (SELECT FROM researchflow.refresh_alive
               WHERE seen_at >= clock_timestamp() - make_interval(secs => $1)) AS running,
       last.outcome AS last_outcome,
       last.finished_at AS last_ended_at,
       (SELECT count(*) FROM researchflow.refresh_run
        WHERE outcome IN ('failed', 'cancelled')
          AND run_id > coalesce((SELECT run_id FROM success), 0)) AS failures,
       coalesce(extract(epoch FROM (SELECT took FROM success))::float8, 0) AS took_s,
       -- More than the tail takes at once is not in the overlay, and waits for a refresh all the more.
       greatest((SELECT count(*) FROM researchflow.overlay_entry WHERE origin = 'source'),
                (SELECT sum(pending) FROM researchflow.source_check))::bigint AS waiting
FROM (SELECT) AS one LEFT JOIN last ON true
