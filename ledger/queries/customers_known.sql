SELECT user_id FROM customers
UNION
SELECT value FROM daily_spend WHERE dimension = 'customer'
ORDER BY user_id
LIMIT $1 OFFSET $2
