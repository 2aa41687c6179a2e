-- Of how many types source and ledger differed when they were summed last, and when that was.
SELECT count(*) FILTER (WHERE in_source <> in_ledger OR source_sum IS DISTINCT FROM ledger_sum)
           AS differing,
       max(counted_at) AS counted_at
FROM researchflow.source_count HAVING count(*) > 0;
