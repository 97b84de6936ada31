SELECT
    CASE $1::text
        WHEN 'day' THEN day::text WHEN 'group' THEN model_group WHEN 'model' THEN model WHEN 'provider' THEN provider
        ELSE value
    END AS value,
    sum(spend) AS spend, sum(prompt)::bigint AS prompt, sum(completion)::bigint AS completion,
    sum(cached)::bigint AS cached, sum(cache_write)::bigint AS cache_write, sum(requests)::bigint AS requests,
    sum(successes)::bigint AS successes, sum(failures)::bigint AS failures, sum(unpriced)::bigint AS unpriced
FROM daily_spend
WHERE dimension = $2 AND ($3::date IS NULL OR day >= $3) AND ($4::date IS NULL OR day <= $4)
GROUP BY 1
HAVING sum(requests) <> 0
ORDER BY CASE WHEN $1 = 'day' THEN sum(0) ELSE -sum(spend) END, 1
