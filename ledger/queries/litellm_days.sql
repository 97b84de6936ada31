-- How many of these sums moved. Each moves by the difference between what the source says and what was known of it.
WITH given AS (
    SELECT g.*
    FROM jsonb_to_recordset($1::jsonb) AS g (
        day date, dimension text, value text, model_group text, model text, provider text, spend numeric, prompt bigint,
        completion bigint, cached bigint, cache_write bigint, requests bigint, successes bigint, failures bigint
    )
),
news AS (
    SELECT g.day, g.dimension, g.value, g.model_group, g.model, g.provider,
        g.spend - coalesce(m.spend, 0) AS spend, g.prompt - coalesce(m.prompt, 0) AS prompt,
        g.completion - coalesce(m.completion, 0) AS completion, g.cached - coalesce(m.cached, 0) AS cached,
        g.cache_write - coalesce(m.cache_write, 0) AS cache_write, g.requests - coalesce(m.requests, 0) AS requests,
        g.successes - coalesce(m.successes, 0) AS successes, g.failures - coalesce(m.failures, 0) AS failures
    FROM given AS g
    LEFT JOIN imported_days AS m USING (day, dimension, value, model_group, model, provider)
    WHERE m.day IS NULL
        OR (g.spend, g.prompt, g.completion, g.cached, g.cache_write, g.requests, g.successes, g.failures)
        <> (m.spend, m.prompt, m.completion, m.cached, m.cache_write, m.requests, m.successes, m.failures)
),
kept AS (
    INSERT INTO imported_days AS m (
        day, dimension, value, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures, unpriced
    )
    SELECT day, dimension, value, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures, 0
    FROM news
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (day, dimension, value, model_group, model, provider) DO UPDATE SET
        spend = m.spend + excluded.spend, prompt = m.prompt + excluded.prompt,
        completion = m.completion + excluded.completion, cached = m.cached + excluded.cached,
        cache_write = m.cache_write + excluded.cache_write, requests = m.requests + excluded.requests,
        successes = m.successes + excluded.successes, failures = m.failures + excluded.failures
),
moved AS (
    INSERT INTO daily_spend AS d (
        day, dimension, value, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures, unpriced
    )
    SELECT day, dimension, value, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures, 0
    FROM news
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (day, dimension, value, model_group, model, provider) DO UPDATE SET
        spend = d.spend + excluded.spend, prompt = d.prompt + excluded.prompt,
        completion = d.completion + excluded.completion, cached = d.cached + excluded.cached,
        cache_write = d.cache_write + excluded.cache_write, requests = d.requests + excluded.requests,
        successes = d.successes + excluded.successes, failures = d.failures + excluded.failures
    RETURNING 1
)
SELECT count(*) FROM moved
