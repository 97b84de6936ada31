SELECT user_id AS id
FROM users LEFT JOIN totals ON totals.kind = 'user' AND totals.id = user_id AND totals.scope = ''
ORDER BY coalesce(totals.spend, 0) DESC, user_id
LIMIT $1 OFFSET $2
