-- The sums of rows_grouped.sql, which are `paid`, by each tag. It goes first, so that a call with two tags is read once.
SELECT
    day, key, "user", team, organization, customer, one AS tag, "group", model, provider, endpoint, deployment,
    sum(spend) AS spend, sum(prompt)::bigint AS prompt, sum(completion)::bigint AS completion,
    sum(cached)::bigint AS cached, sum(cache_write)::bigint AS cache_write, sum(requests)::bigint AS requests,
    sum(successes)::bigint AS successes, sum(failures)::bigint AS failures
FROM paid CROSS JOIN LATERAL unnest(tag) AS one
WHERE $9 IS NULL OR one = ANY($9)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
