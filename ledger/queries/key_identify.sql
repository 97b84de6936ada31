SELECT hash, key_id FROM key_hashes WHERE hash = ANY($1::text[]) AND (until IS NULL OR until > $3::timestamptz)
UNION ALL
SELECT key_id AS hash, key_id FROM virtual_keys WHERE key_id = ANY($2::text[])
