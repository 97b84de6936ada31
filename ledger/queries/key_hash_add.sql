INSERT INTO key_hashes (hash, key_id) VALUES ($1, $2)
