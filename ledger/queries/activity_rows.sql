-- The days of a range by everything that activity_sums.sql, which follows, makes sums of.
WITH paid AS MATERIALIZED (
    SELECT
        (started AT TIME ZONE 'UTC')::date AS day,
        CASE $3::text
            WHEN 'team' THEN team WHEN 'user' THEN user_id WHEN 'organization' THEN organization
            WHEN 'customer' THEN end_user ELSE ''
        END AS entity,
        CASE WHEN $3 = 'tag' THEN tags END AS tags,
        key_hash, endpoint, model_group, model, provider,
        coalesce(sum(cost), 0) AS spend, sum(prompt) AS prompt, sum(completion) AS completion,
        sum(cached) AS cached, sum(cache_write) AS cache_write, count(*) AS requests,
        count(*) FILTER (WHERE status = 'success') AS successes,
        count(*) FILTER (WHERE status IN ('failure', 'lost')) AS failures
    FROM spend_logs
    WHERE started >= $1::date::timestamp AT TIME ZONE 'UTC' AND started < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND CASE $3
            WHEN 'team' THEN ($4::text[] IS NULL OR team = ANY($4)) AND NOT team = ANY($5::text[])
            WHEN 'user' THEN ($4 IS NULL OR user_id = ANY($4)) AND NOT user_id = ANY($5)
            WHEN 'organization' THEN ($4 IS NULL OR organization = ANY($4)) AND NOT organization = ANY($5)
            WHEN 'customer' THEN ($4 IS NULL OR end_user = ANY($4)) AND NOT end_user = ANY($5)
            WHEN 'tag' THEN ($4 IS NULL OR tags && $4)
            ELSE true
        END
      AND ($6::text IS NULL OR model = $6 OR model_group = $6)
      AND ($9::text[] IS NULL OR key_hash = ANY($9))
      AND ($10::boolean
        OR user_id = ANY($11::text[]) OR key_hash = ANY($12::text[])
        OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($11))
        OR team = ANY($13::text[]) OR organization = ANY($14::text[]))
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
),
named AS MATERIALIZED (
    SELECT day, entity, key_hash, endpoint, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures
    FROM paid WHERE tags IS NULL AND (entity <> '' OR $3 IN ('all', 'user'))
    UNION ALL
    SELECT day, tag, key_hash, endpoint, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures
    FROM paid CROSS JOIN LATERAL unnest(tags) AS tag
    WHERE ($4 IS NULL OR tag = ANY($4)) AND NOT tag = ANY($5)
),
