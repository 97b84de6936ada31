SELECT key_id AS id
FROM virtual_keys LEFT JOIN totals ON totals.kind = 'key' AND totals.id = key_id AND totals.scope = ''
WHERE $1::text IS NULL OR user_id = $1
ORDER BY coalesce(totals.spend, 0) DESC, key_id
LIMIT $2 OFFSET $3
