SELECT day, sum(requests)::bigint AS requests
FROM daily_spend
WHERE day >= $1::date AND day <= $2::date AND dimension = $3::text
  AND ($4::text[] IS NULL OR value = ANY($4)) AND NOT value = ANY($5::text[])
  AND ($6::text IS NULL OR model = $6 OR model_group = $6)
GROUP BY day
HAVING sum(requests) <> 0
ORDER BY day DESC
