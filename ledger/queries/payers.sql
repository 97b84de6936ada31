-- Customers and tags of these names that have terms, are blocked or are limited to models.
SELECT 'customer' AS kind, c.user_id AS id, c.blocked, c.models, to_jsonb(b) AS budget
FROM customers AS c LEFT JOIN budgets AS b USING (budget_id)
WHERE c.user_id = $1
UNION ALL
SELECT 'tag', t.tag_name, false, '{}', to_jsonb(b)
FROM tags AS t JOIN budgets AS b USING (budget_id)
WHERE t.tag_name = ANY ($2::text[])
