SELECT value
FROM daily_spend
WHERE dimension = 'tag' AND (starts_with(value, 'User-Agent:') OR strpos(value, ':') = 0)
GROUP BY value
ORDER BY count(*) DESC, value
LIMIT $1
