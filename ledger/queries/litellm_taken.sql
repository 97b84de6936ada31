-- Which of these hashes, and of these aliases, are a key's here, and whose.
SELECT 'hash' AS what, hash AS value, key_id FROM key_hashes WHERE hash = ANY ($1::text[])
UNION ALL
SELECT 'alias', key_alias, key_id FROM virtual_keys WHERE key_alias = ANY ($2::text[])
