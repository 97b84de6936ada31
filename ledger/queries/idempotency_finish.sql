UPDATE idempotent_calls
SET state = 'done', answer = $3, leased_until = now(), expires = now() + $4::interval
WHERE key = $1 AND owner = $2 AND state = 'running'
RETURNING true
