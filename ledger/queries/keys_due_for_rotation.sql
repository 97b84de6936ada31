SELECT key_id FROM virtual_keys
WHERE auto_rotate AND (key_rotation_at IS NULL OR key_rotation_at <= $1)
ORDER BY key_rotation_at NULLS FIRST, key_id
LIMIT $2
