SELECT user_id FROM users WHERE lower(user_email) = lower($1::text) ORDER BY created_at, user_id LIMIT 2
