-- How many users had calls with a tag, in periods of $3 days that end with the day $2; period 0 is the last one.
WITH met AS (
    SELECT ($2::date - (started AT TIME ZONE 'UTC')::date) / $3::integer AS period, tags, user_id
    FROM spend_logs
    WHERE started >= $1::date::timestamp AT TIME ZONE 'UTC' AND started < ($2 + 1)::timestamp AT TIME ZONE 'UTC'
      AND tags <> '{}' AND user_id <> '' AND ($4::text[] IS NULL OR tags && $4)
      AND ($6::boolean
        OR user_id = ANY($7::text[]) OR key_hash = ANY($8::text[])
        OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($7))
        OR team = ANY($9::text[]) OR organization = ANY($10::text[]))
    GROUP BY 1, 2, 3
)
SELECT tag, period, count(DISTINCT user_id) AS users
FROM met CROSS JOIN LATERAL unnest(tags) AS tag
WHERE ($4 IS NULL OR tag = ANY($4)) AND ($5::text IS NULL OR strpos(lower(tag), lower($5)) > 0)
GROUP BY 1, 2
ORDER BY 2, 3 DESC, 1
LIMIT $11
