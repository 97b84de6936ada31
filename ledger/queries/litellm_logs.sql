-- How many of these calls are new. They move no sums: LiteLLM's own sums are carried over.
WITH stored AS (
    INSERT INTO spend_logs (
        attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, stream, model_group, model,
        provider, deployment, worker, key_hash, key_alias, user_id, team, organization, end_user, tags, prompt, completion,
        cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata
    )
    SELECT
        attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, false, model_group, model,
        provider, deployment, 'litellm', key_hash, key_alias, user_id, team, organization, end_user, tags, prompt, completion,
        cached, cache_write, reasoning, 0, 0, false, false, cost, metadata
    FROM jsonb_to_recordset($1::jsonb) AS g (
        attempt text, started timestamptz, ended timestamptz, first_byte timestamptz, request text, status text,
        http_status integer, failure text, endpoint text, model_group text, model text, provider text, deployment text,
        key_hash text, key_alias text, user_id text, team text, organization text, end_user text, tags text[],
        prompt bigint, completion bigint, cached bigint, cache_write bigint, reasoning bigint, cost numeric, metadata jsonb
    )
    ORDER BY started, attempt
    ON CONFLICT (attempt, started) DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM stored
