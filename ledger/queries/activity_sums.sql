-- Sums of `named` by day and key, by each other field and key, by endpoint; with $8 also by each field alone. Of what
-- clients can make any number of, the dearest are shown: $7 keys, and so many names of a day. A part is its grouping()
-- until the end, since lines are sorted faster by one number than by a day and a text.
keys AS MATERIALIZED (
    SELECT key_hash, count(*) OVER () AS number FROM named GROUP BY 1 ORDER BY sum(spend) DESC, 1 LIMIT $7
),
sums AS (
    SELECT
        grouping(model, model_group, provider, endpoint, entity) AS part,
        day, coalesce(model, model_group, provider, endpoint, entity) AS name, key_hash AS key,
        sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion, total(cached) AS cached,
        total(cache_write) AS cache_write, total(requests) AS requests, total(successes) AS successes,
        total(failures) AS failures
    FROM named WHERE key_hash IN (SELECT key_hash FROM keys)
    GROUP BY GROUPING SETS (
        (day, key_hash), (day, model, key_hash), (day, model_group, key_hash), (day, provider, key_hash),
        (day, endpoint, key_hash), (day, entity, key_hash)
    )
    UNION ALL
    SELECT
        29, day, endpoint, NULL,
        sum(spend), total(prompt), total(completion), total(cached), total(cache_write), total(requests),
        total(successes), total(failures)
    FROM named
    GROUP BY day, endpoint
    UNION ALL
    SELECT
        CASE grouping(model, model_group, provider, entity)
            WHEN 7 THEN 15 WHEN 11 THEN 23 WHEN 13 THEN 27 WHEN 14 THEN 30 ELSE 31
        END,
        day, coalesce(model, model_group, provider, entity), NULL,
        sum(spend), total(prompt), total(completion), total(cached), total(cache_write), total(requests),
        total(successes), total(failures)
    FROM named
    WHERE $8::boolean
    GROUP BY GROUPING SETS ((day), (day, model), (day, model_group), (day, provider), (day, entity))
),
placed AS (
    SELECT *, (day - $1) * 64 + part * 2 + (key IS NULL)::integer AS place
    FROM sums
    WHERE requests <> 0 AND (part = 31 OR name IS NOT NULL)
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY place ORDER BY spend DESC, name, key) AS rank FROM placed
)
SELECT
    CASE part
        WHEN 15 THEN 'models' WHEN 23 THEN 'model_groups' WHEN 27 THEN 'providers' WHEN 29 THEN 'endpoints'
        WHEN 30 THEN 'entities' ELSE ''
    END AS part,
    day, name, key, spend, prompt, completion, cached, cache_write, requests, successes, failures,
    coalesce((SELECT number FROM keys LIMIT 1), 0) AS keys
FROM ranked
WHERE rank <= CASE WHEN key IS NULL THEN 1000 ELSE 5000 END
ORDER BY place, spend DESC, name, key
