-- Sums over daily_spend by any of its fields: $1 names them, the others are NULL.
SELECT
    CASE WHEN 'day' = ANY($1::text[]) THEN day END AS day,
    CASE WHEN $4 = ANY($1) THEN value END AS value,
    CASE WHEN 'group' = ANY($1) THEN model_group END AS "group",
    CASE WHEN 'model' = ANY($1) THEN model END AS model,
    CASE WHEN 'provider' = ANY($1) THEN provider END AS provider,
    sum(spend) AS spend, sum(prompt)::bigint AS prompt, sum(completion)::bigint AS completion,
    sum(cached)::bigint AS cached, sum(cache_write)::bigint AS cache_write, sum(requests)::bigint AS requests,
    sum(successes)::bigint AS successes, sum(failures)::bigint AS failures
FROM daily_spend
WHERE day >= $2::date AND day <= $3::date AND dimension = $4::text
  AND ($5::text[] IS NULL OR value = ANY($5))
  AND ($6::text IS NULL OR model_group = $6)
  AND ($8::text IS NULL OR model = $8 OR model_group = $8)
GROUP BY 1, 2, 3, 4, 5
HAVING sum(requests) <> 0
ORDER BY spend DESC, 1, 2, 3, 4, 5
LIMIT $7
