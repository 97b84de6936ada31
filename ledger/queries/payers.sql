-- The customer and the tags of these names that have terms, are blocked or are limited to models. $3 are budgets of
-- customers who have none of their own: the first that there is counts.
SELECT
    'customer' AS kind, $1::text AS id, coalesce(c.blocked, false) AS blocked, coalesce(c.models, '{}') AS models,
    to_jsonb(b) AS budget
FROM (VALUES (1)) AS one
LEFT JOIN customers AS c ON c.user_id = $1
LEFT JOIN budgets AS b ON b.budget_id = coalesce(
    c.budget_id,
    (
        SELECT d.budget_id FROM budgets AS d WHERE d.budget_id = ANY ($3::text[])
        ORDER BY array_position($3, d.budget_id) LIMIT 1
    )
)
WHERE $1 <> '' AND (c.user_id IS NOT NULL OR b.budget_id IS NOT NULL)
UNION ALL
SELECT 'tag', t.tag_name, false, '{}', to_jsonb(b)
FROM tags AS t JOIN budgets AS b USING (budget_id)
WHERE t.tag_name = ANY ($2::text[])
