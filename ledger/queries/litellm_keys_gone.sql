-- Keys that once came from LiteLLM, work here, and are not among these.
SELECT k.key_id, coalesce(k.key_alias, k.key_name) AS called
FROM imported_rows AS m
JOIN virtual_keys AS k ON m.id = jsonb_build_array(k.key_id)::text
LEFT JOIN unnest($1::text[]) AS present (key_id) ON present.key_id = k.key_id
WHERE m.entity = 'key' AND NOT k.blocked AND (k.expires IS NULL OR k.expires > now()) AND present.key_id IS NULL
ORDER BY 2, 1
