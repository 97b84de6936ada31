SELECT EXISTS (SELECT 1 FROM key_hashes WHERE hash = $1)
    OR EXISTS (SELECT 1 FROM virtual_keys WHERE key_id = $1 AND key_id <> $2)
