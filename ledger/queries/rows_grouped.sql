-- Sums over spend_logs by any of its fields: $1 names them, the others are NULL. `tag` is all tags of a call; when it
-- is named, tags_grouped.sql follows. ledger/reports.py adds the order.
SELECT
    CASE WHEN 'day' = ANY($1::text[]) THEN (started AT TIME ZONE 'UTC')::date END AS day,
    CASE WHEN 'key' = ANY($1) THEN key_hash END AS key,
    CASE WHEN 'user' = ANY($1) THEN user_id END AS "user",
    CASE WHEN 'team' = ANY($1) THEN team END AS team,
    CASE WHEN 'organization' = ANY($1) THEN organization END AS organization,
    CASE WHEN 'customer' = ANY($1) THEN end_user END AS customer,
    CASE WHEN 'tag' = ANY($1) THEN tags END AS tag,
    CASE WHEN 'group' = ANY($1) THEN model_group END AS "group",
    CASE WHEN 'model' = ANY($1) THEN model END AS model,
    CASE WHEN 'provider' = ANY($1) THEN provider END AS provider,
    CASE WHEN 'endpoint' = ANY($1) THEN endpoint END AS endpoint,
    CASE WHEN 'deployment' = ANY($1) THEN deployment END AS deployment,
    coalesce(sum(cost), 0) AS spend, total(prompt) AS prompt, total(completion) AS completion,
    total(cached) AS cached, total(cache_write) AS cache_write, count(*) AS requests,
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
  AND ($11::text IS NULL OR model = $11 OR model_group = $11)
  AND ($12::text IS NULL OR request = $12)
  AND ($13::integer IS NULL OR http_status = $13)
  AND ($14::boolean
    OR user_id = ANY($15::text[]) OR key_hash = ANY($16::text[])
    OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($15))
    OR team = ANY($17::text[]) OR organization = ANY($18::text[]))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
