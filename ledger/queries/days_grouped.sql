-- Sums over daily_spend by any of its fields: $1 names them, the others are NULL. ledger/reports.py adds the order.
SELECT
    CASE WHEN 'day' = ANY($1::text[]) THEN day END AS day,
    CASE WHEN $4::text = 'key' AND 'key' = ANY($1) THEN value END AS key,
    CASE WHEN $4 = 'user' AND 'user' = ANY($1) THEN value END AS "user",
    CASE WHEN $4 = 'team' AND 'team' = ANY($1) THEN value END AS team,
    CASE WHEN $4 = 'organization' AND 'organization' = ANY($1) THEN value END AS organization,
    CASE WHEN $4 = 'customer' AND 'customer' = ANY($1) THEN value END AS customer,
    CASE WHEN $4 = 'tag' AND 'tag' = ANY($1) THEN value END AS tag,
    CASE WHEN 'group' = ANY($1) THEN model_group END AS "group",
    CASE WHEN 'model' = ANY($1) THEN model END AS model,
    CASE WHEN 'provider' = ANY($1) THEN provider END AS provider,
    NULL::text AS endpoint,
    NULL::text AS deployment,
    sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion,
    total(cached) AS cached, total(cache_write) AS cache_write, total(requests) AS requests,
    total(successes) AS successes, total(failures) AS failures
FROM daily_spend
WHERE day >= $2::date AND day <= $3::date AND dimension = $4
  AND ($5::text[] IS NULL OR value = ANY($5))
  AND ($6::text IS NULL OR model_group = $6)
  AND ($7::text IS NULL OR model = $7 OR model_group = $7)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
HAVING total(requests) <> 0
