SELECT user_id AS id, count(*) AS keys FROM virtual_keys WHERE user_id = ANY($1::text[]) GROUP BY user_id
