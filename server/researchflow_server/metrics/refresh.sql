-- Finished refreshes by outcome and duration; $1 holds the upper bounds of the buckets.
SELECT CASE outcome WHEN 'failed' THEN 'failed' ELSE 'published' END AS outcome,
       width_bucket(seconds, $1::float8[]) AS bucket,
       count(*) AS runs,
       coalesce(sum(changed) FILTER (WHERE outcome <> 'failed'), 0)::bigint AS changed,
       sum(seconds)::float8 AS seconds,
       max(finished_at) AS last_at
FROM (
    SELECT outcome, changed, finished_at,
           extract(epoch FROM finished_at - started_at)::float8 AS seconds
    FROM researchflow.refresh_run
    WHERE finished_at IS NOT NULL AND outcome <> 'running'
) run
GROUP BY 1, 2
ORDER BY 1, 2;
