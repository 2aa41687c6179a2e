-- Of how many types source and ledger differed when they were summed last, and when that was.
SELECT count(*) FILTER (WHERE in_source <> in_ledger OR source_sum IS DISTINCT FROM ledger_sum)
           AS differing,
       max(counted_at) AS counted_at,
       -- The last refresh whose turn it was could not.
       coalesce((SELECT NOT counted FROM researchflow.refresh_run
                 WHERE counted IS NOT NULL ORDER BY run_id DESC LIMIT 1), false) AS is_missing
FROM researchflow.source_count;
