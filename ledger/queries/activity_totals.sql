-- Sums of the days of a range: by day, and by model, model group, provider and payer. Of the names of a day that clients
-- can make any number of, the dearest thousand are shown.
WITH sums AS (
    SELECT
        grouping(model, model_group, provider, value) AS part, day,
        coalesce(model, model_group, provider, value) AS name,
        sum(spend) AS spend, sum(prompt)::bigint AS prompt, sum(completion)::bigint AS completion,
        sum(cached)::bigint AS cached, sum(cache_write)::bigint AS cache_write, sum(requests)::bigint AS requests,
        sum(successes)::bigint AS successes, sum(failures)::bigint AS failures
    FROM daily_spend
    WHERE day >= $1::date AND day <= $2::date AND dimension = $3::text
      AND ($4::text[] IS NULL OR value = ANY($4)) AND NOT value = ANY($5::text[])
      AND ($6::text IS NULL OR model = $6 OR model_group = $6)
    GROUP BY GROUPING SETS ((day), (day, model), (day, model_group), (day, provider), (day, value))
    HAVING sum(requests) <> 0
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY day, part ORDER BY spend DESC, name) AS rank FROM sums
)
SELECT
    CASE part WHEN 7 THEN 'models' WHEN 11 THEN 'model_groups' WHEN 13 THEN 'providers' WHEN 14 THEN 'entities' ELSE '' END
        AS part,
    day, name, NULL::text AS key, spend, prompt, completion, cached, cache_write, requests, successes, failures,
    0 AS keys
FROM ranked
WHERE rank <= 1000
ORDER BY day DESC, spend DESC, name
