-- The same as activity_calls.sql, from the rows: for some customers or tags.
WITH paid AS NOT MATERIALIZED (
    SELECT
        (started AT TIME ZONE 'UTC')::date AS day,
        CASE WHEN $3::text = 'customer' THEN end_user END AS entity,
        CASE WHEN $3 = 'tag' THEN tags END AS tags,
        key_hash, endpoint, model_group, model, provider,
        coalesce(sum(cost), 0) AS spend, total(prompt) AS prompt, total(completion) AS completion,
        total(cached) AS cached, total(cache_write) AS cache_write, count(*) AS requests,
        count(*) FILTER (WHERE status = 'success') AS successes,
        count(*) FILTER (WHERE status IN ('failure', 'lost')) AS failures
    FROM spend_logs
    WHERE started >= $1::date::timestamp AT TIME ZONE 'UTC' AND started < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND CASE $3
            WHEN 'customer' THEN end_user <> '' AND ($4::text[] IS NULL OR end_user = ANY($4))
                AND NOT end_user = ANY($5::text[])
            ELSE tags <> '{}' AND ($4 IS NULL OR tags && $4)
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
    FROM paid WHERE $3 = 'customer'
    UNION ALL
    SELECT day, tag, key_hash, endpoint, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures
    FROM paid CROSS JOIN LATERAL unnest(tags) AS tag
    WHERE $3 = 'tag' AND ($4 IS NULL OR tag = ANY($4)) AND NOT tag = ANY($5)
),
