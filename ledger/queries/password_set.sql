INSERT INTO passwords (user_id, hash, reset_required) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE
SET hash = excluded.hash, reset_required = excluded.reset_required, changed_at = now()
