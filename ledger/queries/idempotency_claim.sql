-- No row comes back while the key is somebody else's. A call whose owner is gone goes to whoever asks the same; any
-- other call with its key has to wait until it expires.
INSERT INTO idempotent_calls AS held (key, body, owner, leased_until, state, expires)
VALUES ($1, $2, $3, now() + $4::interval, 'running', now() + $5::interval)
ON CONFLICT (key) DO UPDATE SET
    body = excluded.body,
    owner = excluded.owner,
    leased_until = excluded.leased_until,
    state = excluded.state,
    answer = NULL,
    expires = excluded.expires
WHERE held.leased_until <= now()
  AND (held.expires <= now() OR (held.state = 'running' AND held.body = excluded.body))
RETURNING true
