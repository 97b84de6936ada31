-- Sums over daily_calls by any of its fields: $1 names them, the others are NULL. ledger/reports.py adds the order.
SELECT
    CASE WHEN 'day' = ANY($1::text[]) THEN day END AS day,
    CASE WHEN 'key' = ANY($1) THEN key_hash END AS key,
    CASE WHEN 'user' = ANY($1) THEN user_id END AS "user",
    CASE WHEN 'team' = ANY($1) THEN team END AS team,
    CASE WHEN 'organization' = ANY($1) THEN organization END AS organization,
    NULL::text AS customer,
    NULL::text AS tag,
    CASE WHEN 'group' = ANY($1) THEN model_group END AS "group",
    CASE WHEN 'model' = ANY($1) THEN model END AS model,
    CASE WHEN 'provider' = ANY($1) THEN provider END AS provider,
    CASE WHEN 'endpoint' = ANY($1) THEN endpoint END AS endpoint,
    NULL::text AS deployment,
    sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion,
    total(cached) AS cached, total(cache_write) AS cache_write, total(requests) AS requests,
    total(successes) AS successes, total(failures) AS failures
FROM daily_calls
WHERE day >= $2::date AND day <= $3::date
  AND ($4::text[] IS NULL OR key_hash = ANY($4))
  AND ($5::text[] IS NULL OR user_id = ANY($5))
  AND ($6::text[] IS NULL OR team = ANY($6))
  AND ($7::text[] IS NULL OR organization = ANY($7))
  AND ($8::text IS NULL OR model_group = $8)
  AND ($9::text IS NULL OR model = $9 OR model_group = $9)
  AND ($10::boolean
    OR user_id = ANY($11::text[]) OR key_hash = ANY($12::text[])
    OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($11))
    OR team = ANY($13::text[]) OR organization = ANY($14::text[]))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
