-- Sums of the rows in `named` by day and key, by each other field and key, by endpoint; with $8 also by each field alone.
-- Of what clients can make any number of, the dearest are shown: $7 keys, and so many names of a day.
keys AS MATERIALIZED (
    SELECT key_hash, count(*) OVER () AS number FROM named GROUP BY 1 ORDER BY sum(spend) DESC, 1 LIMIT $7
),
sums AS (
    SELECT
        CASE grouping(model, model_group, provider, endpoint, entity)
            WHEN 15 THEN 'models' WHEN 23 THEN 'model_groups' WHEN 27 THEN 'providers' WHEN 29 THEN 'endpoints'
            WHEN 30 THEN 'entities' ELSE ''
        END AS part,
        day, coalesce(model, model_group, provider, endpoint, entity) AS name, key_hash AS key,
        sum(spend) AS spend, sum(prompt)::bigint AS prompt, sum(completion)::bigint AS completion,
        sum(cached)::bigint AS cached, sum(cache_write)::bigint AS cache_write, sum(requests)::bigint AS requests,
        sum(successes)::bigint AS successes, sum(failures)::bigint AS failures
    FROM named JOIN keys USING (key_hash)
    GROUP BY GROUPING SETS (
        (day, key_hash), (day, model, key_hash), (day, model_group, key_hash), (day, provider, key_hash),
        (day, endpoint, key_hash), (day, entity, key_hash)
    )
    UNION ALL
    SELECT
        'endpoints', day, endpoint, NULL,
        sum(spend), sum(prompt)::bigint, sum(completion)::bigint, sum(cached)::bigint, sum(cache_write)::bigint,
        sum(requests)::bigint, sum(successes)::bigint, sum(failures)::bigint
    FROM named
    GROUP BY day, endpoint
    UNION ALL
    SELECT
        CASE grouping(model, model_group, provider, entity)
            WHEN 7 THEN 'models' WHEN 11 THEN 'model_groups' WHEN 13 THEN 'providers' WHEN 14 THEN 'entities' ELSE ''
        END,
        day, coalesce(model, model_group, provider, entity), NULL,
        sum(spend), sum(prompt)::bigint, sum(completion)::bigint, sum(cached)::bigint, sum(cache_write)::bigint,
        sum(requests)::bigint, sum(successes)::bigint, sum(failures)::bigint
    FROM named
    WHERE $8::boolean
    GROUP BY GROUPING SETS ((day), (day, model), (day, model_group), (day, provider), (day, entity))
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY day, part, key IS NULL ORDER BY spend DESC, name, key) AS rank
    FROM sums
    WHERE requests <> 0 AND (part = '' OR name IS NOT NULL)
)
SELECT
    part, day, name, key, spend, prompt, completion, cached, cache_write, requests, successes, failures,
    coalesce((SELECT number FROM keys LIMIT 1), 0) AS keys
FROM ranked
WHERE rank <= CASE WHEN key IS NULL THEN 1000 ELSE 5000 END
ORDER BY day DESC, spend DESC, name, key
