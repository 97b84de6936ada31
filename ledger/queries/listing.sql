SELECT
    attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, stream,
    model_group, model, provider, deployment, worker,
    key_hash, key_alias, user_id, team, organization, end_user, tags,
    prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata
FROM spend_logs
WHERE ($1::text IS NULL OR key_hash = $1)
  AND ($2::text IS NULL OR user_id = $2)
  AND ($3::text IS NULL OR request = $3)
  AND ($4::timestamptz IS NULL OR started >= $4)
  AND ($5::timestamptz IS NULL OR started < $5)
ORDER BY started DESC, attempt DESC
LIMIT $6
