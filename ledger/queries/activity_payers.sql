-- What each of the keys $5 used for each customer, or with each tag, of the days of a range; the dearest of a day as in
-- activity_sums.sql.
WITH paid AS NOT MATERIALIZED (
    SELECT
        (started AT TIME ZONE 'UTC')::date AS day,
        CASE WHEN $3::text = 'customer' THEN end_user END AS entity,
        CASE WHEN $3 = 'tag' THEN tags END AS tags,
        key_hash AS key,
        coalesce(sum(cost), 0) AS spend, total(prompt) AS prompt, total(completion) AS completion,
        total(cached) AS cached, total(cache_write) AS cache_write, count(*) AS requests,
        count(*) FILTER (WHERE status = 'success') AS successes,
        count(*) FILTER (WHERE status IN ('failure', 'lost')) AS failures
    FROM spend_logs
    WHERE started >= $1::date::timestamp AT TIME ZONE 'UTC' AND started < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND CASE $3 WHEN 'customer' THEN end_user <> '' ELSE tags <> '{}' END
      AND ($4::text IS NULL OR model = $4 OR model_group = $4)
      AND key_hash = ANY($5::text[])
    GROUP BY 1, 2, 3, 4
),
sums AS (
    SELECT day, entity AS name, key, spend, prompt, completion, cached, cache_write, requests, successes, failures
    FROM paid WHERE $3 = 'customer'
    UNION ALL
    SELECT
        day, tag, key, sum(spend), total(prompt), total(completion), total(cached), total(cache_write),
        total(requests), total(successes), total(failures)
    FROM paid CROSS JOIN LATERAL unnest(tags) AS tag
    WHERE $3 = 'tag'
    GROUP BY 1, 2, 3
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY day ORDER BY spend DESC, name, key) AS rank FROM sums
)
SELECT
    'entities' AS part, day, name, key, spend, prompt, completion, cached, cache_write, requests, successes, failures
FROM ranked
WHERE rank <= 5000
ORDER BY day, spend DESC, name, key
