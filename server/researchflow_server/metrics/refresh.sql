-- Runs since run $2 and those that still ran then ($3), by outcome and duration; at the first look
-- ($4 seconds after the counting began) only what ended since. $1: upper bounds of the buckets.
SELECT outcome,
       coalesce(width_bucket(seconds, $1::float8[]), 0) AS bucket,
       count(*) FILTER (WHERE counts) AS runs,
       coalesce(sum(changed) FILTER (WHERE counts AND outcome = 'published'), 0)::bigint AS changed,
       coalesce(sum(seconds) FILTER (WHERE counts), 0)::float8 AS seconds,
       max(run_id) AS newest,
       coalesce(array_agg(run_id) FILTER (WHERE outcome = 'running'), '{}') AS running
FROM (
    SELECT run_id, outcome, changed, extract(epoch FROM ended_at - started_at)::float8 AS seconds,
           ended_at IS NOT NULL AND outcome <> 'running'
               AND ($4::float8 IS NULL
                    OR ended_at >= clock_timestamp() - make_interval(secs => $4)) AS counts
    FROM (
        -- Of one that died the row says so only when the next refresher has closed it.
        SELECT r.run_id, r.changed, r.started_at,
               CASE WHEN d.run_id IS NULL THEN r.outcome ELSE 'failed' END AS outcome,
               coalesce(r.finished_at, d.seen_at) AS ended_at
        FROM researchflow.refresh_run AS r
        LEFT JOIN researchflow.refresh_dead AS d ON d.run_id = r.run_id
        WHERE r.run_id > $2 OR r.run_id = ANY ($3::bigint[])
    ) AS told
) AS run
GROUP BY 1, 2;
