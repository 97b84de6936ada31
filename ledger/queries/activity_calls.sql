-- The days of a range by everything that activity_sums.sql, which follows, makes sums of. A call with two tags counts
-- twice; which customers and tags there were is in activity_payers.sql.
WITH named AS NOT MATERIALIZED (
    SELECT
        day,
        CASE $3::text
            WHEN 'team' THEN team WHEN 'user' THEN user_id WHEN 'organization' THEN organization
        END AS entity,
        key_hash, endpoint, model_group, model, provider,
        CASE WHEN $3 = 'tag' THEN tags * spend ELSE spend END AS spend,
        CASE WHEN $3 = 'tag' THEN tags * prompt ELSE prompt END AS prompt,
        CASE WHEN $3 = 'tag' THEN tags * completion ELSE completion END AS completion,
        CASE WHEN $3 = 'tag' THEN tags * cached ELSE cached END AS cached,
        CASE WHEN $3 = 'tag' THEN tags * cache_write ELSE cache_write END AS cache_write,
        CASE WHEN $3 = 'tag' THEN tags * requests ELSE requests END AS requests,
        CASE WHEN $3 = 'tag' THEN tags * successes ELSE successes END AS successes,
        CASE WHEN $3 = 'tag' THEN tags * failures ELSE failures END AS failures
    FROM daily_calls
    WHERE day >= $1::date AND day <= $2::date
      AND CASE $3
            WHEN 'team' THEN team <> '' AND ($4::text[] IS NULL OR team = ANY($4)) AND NOT team = ANY($5::text[])
            WHEN 'user' THEN ($4 IS NULL OR user_id = ANY($4)) AND NOT user_id = ANY($5)
            WHEN 'organization' THEN organization <> '' AND ($4 IS NULL OR organization = ANY($4))
                AND NOT organization = ANY($5)
            WHEN 'customer' THEN customer
            ELSE tags > 0
        END
      AND ($6::text IS NULL OR model = $6 OR model_group = $6)
      AND ($9::text[] IS NULL OR key_hash = ANY($9))
      AND ($10::boolean
        OR user_id = ANY($11::text[]) OR key_hash = ANY($12::text[])
        OR key_hash IN (SELECT key_id FROM virtual_keys WHERE virtual_keys.user_id = ANY($11))
        OR team = ANY($13::text[]) OR organization = ANY($14::text[]))
),
