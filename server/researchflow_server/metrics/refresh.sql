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
    SELECT run_id, outcome, changed,
           extract(epoch FROM finished_at - started_at)::float8 AS seconds,
           finished_at IS NOT NULL AND outcome <> 'running'
               AND ($4::float8 IS NULL
                    OR finished_at >= clock_timestamp() - make_interval(secs => $4)) AS counts
    FROM researchflow.refresh_run
    WHERE run_id > $2 OR run_id = ANY ($3::bigint[])
) run
GROUP BY 1, 2;
