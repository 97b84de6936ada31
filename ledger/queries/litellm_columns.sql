SELECT c.relname AS name, array_agg(a.attname::text) AS columns
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relname LIKE 'LiteLLM\_%' AND c.relnamespace = ANY (current_schemas(false)::regnamespace[])
GROUP BY c.relname
