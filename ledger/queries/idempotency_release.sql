DELETE FROM idempotent_calls WHERE key = $1 AND owner = $2 AND state = 'running'
