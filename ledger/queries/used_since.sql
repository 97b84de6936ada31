SELECT count(*) AS requests, coalesce(sum(prompt + completion), 0)::bigint AS tokens
FROM spend_logs
WHERE deployment = $1 AND started >= $2
