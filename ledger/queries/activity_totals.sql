-- Sums of the days of a range: by day, and by model, model group, provider and payer. Of what clients can make any
-- number of, the dearest thousand of a day are shown.
WITH models AS MATERIALIZED (
    SELECT
        day, model_group, model, provider,
        sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion, total(cached) AS cached,
        total(cache_write) AS cache_write, total(requests) AS requests, total(successes) AS successes,
        total(failures) AS failures
    FROM daily_spend
    WHERE day >= $1::date AND day <= $2::date AND dimension = $3::text
      AND ($4::text[] IS NULL OR value = ANY($4)) AND NOT value = ANY($5::text[])
      AND ($6::text IS NULL OR model = $6 OR model_group = $6)
    GROUP BY 1, 2, 3, 4
),
parts AS (
    SELECT
        CASE grouping(model, model_group, provider)
            WHEN 3 THEN 'models' WHEN 5 THEN 'model_groups' WHEN 6 THEN 'providers' ELSE ''
        END AS part,
        day, coalesce(model, model_group, provider) AS name,
        sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion,
        total(cached) AS cached, total(cache_write) AS cache_write, total(requests) AS requests,
        total(successes) AS successes, total(failures) AS failures
    FROM models
    GROUP BY GROUPING SETS ((day), (day, model), (day, model_group), (day, provider))
    HAVING total(requests) <> 0
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY day, part ORDER BY spend DESC, name) AS rank FROM parts
)
SELECT
    part, day, name, NULL::text AS key, spend, prompt, completion, cached, cache_write, requests, successes, failures
FROM ranked
WHERE rank <= 1000
UNION ALL
SELECT
    'entities', payers.day, name, NULL, spend, prompt, completion, cached, cache_write, requests, successes, failures
FROM (SELECT DISTINCT day FROM models) AS days
CROSS JOIN LATERAL (  -- day by day, since the key of daily_spend has the payers of a day in order
    SELECT
        day, value AS name, sum(spend) AS spend, total(prompt) AS prompt, total(completion) AS completion,
        total(cached) AS cached, total(cache_write) AS cache_write, total(requests) AS requests,
        total(successes) AS successes, total(failures) AS failures
    FROM daily_spend
    WHERE daily_spend.day = days.day AND dimension = $3
      AND ($4 IS NULL OR value = ANY($4)) AND NOT value = ANY($5)
      AND ($6 IS NULL OR model = $6 OR model_group = $6)
    GROUP BY day, value
    HAVING total(requests) <> 0
    ORDER BY spend DESC, name
    LIMIT 1000
) AS payers
ORDER BY day, part, spend DESC, name
