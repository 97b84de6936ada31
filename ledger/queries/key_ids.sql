SELECT key_id FROM key_hashes WHERE hash = ANY($1::text[])
