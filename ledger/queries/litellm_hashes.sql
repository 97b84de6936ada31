INSERT INTO key_hashes (hash, key_id, until)
SELECT h.hash, h.key_id, h.until
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS h (hash, key_id, until)
JOIN virtual_keys AS k USING (key_id)
ON CONFLICT (hash) DO NOTHING
