-- The same as activity_calls.sql, for all keys together: the daily sums know which models they used, but no more. They
-- know it of days whose rows are gone, too.
WITH named AS MATERIALIZED (
    SELECT
        day, NULL::text AS entity, value AS key_hash, NULL::text AS endpoint, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures
    FROM daily_spend
    WHERE day >= $1::date AND day <= $2::date AND dimension = $3::text
      AND ($4::text[] IS NULL OR value = ANY($4)) AND NOT value = ANY($5::text[])
      AND ($6::text IS NULL OR model = $6 OR model_group = $6)
),
