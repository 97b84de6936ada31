-- The sums of rows_grouped.sql, which are `paid`, by each tag: so a call with two tags is read once.
SELECT
    day, key, "user", team, organization, customer, one AS tag, "group", model, provider, endpoint, deployment,
    sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion,
    total(cached) AS cached, total(cache_write) AS cache_write, total(requests) AS requests,
    total(successes) AS successes, total(failures) AS failures
FROM paid CROSS JOIN LATERAL unnest(tag) AS one
WHERE $9 IS NULL OR one = ANY($9)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
