-- How far the source is read, by whom and how.
SELECT reader, feed, reason, seen_at, compared_at
FROM researchflow.feed_position WHERE isfinite(seen_at) ORDER BY reader;
