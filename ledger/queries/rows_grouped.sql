-- Sums over spend_logs by any of its fields: $1 names them, the others are NULL. Twice, so that a row with two tags is
-- looked at once; see record.sql.
WITH paid AS (
    SELECT
        CASE WHEN 'day' = ANY($1::text[]) THEN (started AT TIME ZONE 'UTC')::date END AS day,
        CASE WHEN 'key' = ANY($1) THEN key_hash END AS key,
        CASE WHEN 'user' = ANY($1) THEN user_id END AS "user",
        CASE WHEN 'team' = ANY($1) THEN team END AS team,
        CASE WHEN 'organization' = ANY($1) THEN organization END AS organization,
        CASE WHEN 'customer' = ANY($1) THEN end_user END AS customer,
        CASE WHEN 'tag' = ANY($1) THEN tags END AS tags,
        CASE WHEN 'group' = ANY($1) THEN model_group END AS "group",
        CASE WHEN 'model' = ANY($1) THEN model END AS model,
        CASE WHEN 'provider' = ANY($1) THEN provider END AS provider,
        CASE WHEN 'endpoint' = ANY($1) THEN endpoint END AS endpoint,
        CASE WHEN 'deployment' = ANY($1) THEN deployment END AS deployment,
        coalesce(sum(cost), 0) AS spend, sum(prompt) AS prompt, sum(completion) AS completion,
        sum(cached) AS cached, sum(cache_write) AS cache_write, count(*) AS requests,
        count(*) FILTER (WHERE status = 'success') AS successes,
        count(*) FILTER (WHERE status IN ('failure', 'lost')) AS failures
    FROM spend_logs
    WHERE started >= $2::date::timestamp AT TIME ZONE 'UTC' AND started < ($3::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND ($4::text[] IS NULL OR key_hash = ANY($4))
      AND ($5::text[] IS NULL OR user_id = ANY($5))
      AND ($6::text[] IS NULL OR team = ANY($6))
      AND ($7::text[] IS NULL OR organization = ANY($7))
      AND ($8::text[] IS NULL OR end_user = ANY($8))
      AND ($9::text[] IS NULL OR tags && $9)
      AND ($10::text IS NULL OR model_group = $10)
      AND ($19::text IS NULL OR model = $19 OR model_group = $19)
      AND ($11::text IS NULL OR request = $11)
      AND ($12::integer IS NULL OR http_status = $12)
      AND ($13::boolean
        OR user_id = ANY($14::text[]) OR key_hash = ANY($15::text[])
        OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($14))
        OR team = ANY($16::text[]) OR organization = ANY($17::text[]))
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
)
SELECT
    day, key, "user", team, organization, customer, tag, "group", model, provider, endpoint, deployment,
    sum(spend) AS spend, sum(prompt)::bigint AS prompt, sum(completion)::bigint AS completion,
    sum(cached)::bigint AS cached, sum(cache_write)::bigint AS cache_write, sum(requests)::bigint AS requests,
    sum(successes)::bigint AS successes, sum(failures)::bigint AS failures
FROM paid LEFT JOIN LATERAL unnest(tags) AS tag ON true
WHERE tags IS NULL OR (tag IS NOT NULL AND ($9 IS NULL OR tag = ANY($9)))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
ORDER BY spend DESC, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
LIMIT $18
