SELECT value, min(day) AS first, max(day) AS last
FROM daily_spend
WHERE dimension = 'tag' AND ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)
    AND NOT EXISTS (SELECT FROM tags WHERE tag_name = value)
GROUP BY value
ORDER BY last DESC, value
LIMIT $3
