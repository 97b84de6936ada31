-- The rows that a listing shows; ledger/logs.py adds the order and the page, or counts them.
SELECT
    attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, stream,
    model_group, model, provider, deployment, worker,
    key_hash, key_alias, user_id, team, organization, end_user, tags,
    prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata
FROM spend_logs
WHERE ($1::timestamptz IS NULL OR started >= $1)
  AND ($2::timestamptz IS NULL OR started < $2)
  AND ($3::text[] IS NULL OR key_hash = ANY($3))
  AND ($4::text IS NULL OR user_id = $4)
  AND ($5::text IS NULL OR team = $5)
  AND ($6::text IS NULL OR request = $6)
  AND ($7::text IS NULL OR (
    metadata ? 'session_id' AND length(metadata ->> 'session_id') <= 256 AND metadata ->> 'session_id' = $7
  ))
  AND ($8::text IS NULL OR model = $8)
  AND ($9::text IS NULL OR deployment = $9)
  AND ($10::text IS NULL OR model_group = $10)
  AND ($11::text IS NULL OR strpos(key_alias, $11) > 0)
  AND ($12::text IS NULL OR end_user = $12)
  AND ($13::text IS NULL OR status = $13 OR ($13 = 'failure' AND status <> 'success'))
  AND ($14::text IS NULL OR http_status::text = $14 OR failure = $14)
  AND ($15::text IS NULL OR strpos(failure, $15) > 0)
  AND ($16::numeric IS NULL OR cost >= $16)
  AND ($17::numeric IS NULL OR cost <= $17)
  AND ($18::text IS NULL OR request = $18 OR user_id = $18 OR team = $18 OR end_user = $18 OR deployment = $18
    OR key_hash = ANY($19::text[]) OR (metadata ? 'session_id' AND metadata ->> 'session_id' = $18))
  AND ($20::boolean
    OR user_id = ANY($21::text[]) OR key_hash = ANY($22::text[])
    OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($21))
    OR team = ANY($23::text[]) OR organization = ANY($24::text[]))
