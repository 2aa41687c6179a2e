-- Everything that decides when the next refresh is due, as of now. $1: seconds after its last word
-- at which a refresher counts as stopped; $2: the key of the lock that a living one holds.
WITH success AS (
    SELECT run_id, finished_at - started_at AS took FROM researchflow.refresh_run
    WHERE outcome IN ('published', 'unchanged') ORDER BY run_id DESC LIMIT 1
), last AS (
    SELECT outcome, finished_at FROM researchflow.refresh_run
    WHERE outcome <> 'running' ORDER BY run_id DESC LIMIT 1
)
SELECT clock_timestamp() AS now,
       EXISTS (SELECT FROM researchflow.refresh_run
               WHERE outcome = 'running'
                 AND seen_at >= clock_timestamp() - make_interval(secs => $1))
           -- Who was killed leaves the row, but not the lock.
           AND EXISTS (SELECT FROM pg_locks
                       WHERE locktype = 'advisory' AND granted
                         AND classid = 0 AND objid = $2 AND objsubid = 1
                         AND database = (SELECT oid FROM pg_database
                                         WHERE datname = current_database())) AS running,
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
