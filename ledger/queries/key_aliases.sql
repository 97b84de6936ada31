WITH found AS (
    SELECT key_alias
    FROM virtual_keys
    WHERE key_alias IS NOT NULL
      AND ($1::boolean OR user_id = $2::text OR team_id = ANY($3::text[]))
      AND ($4::text IS NULL OR key_alias ILIKE $4)
      AND ($5::text IS NULL OR team_id = $5)
)
SELECT
    (SELECT count(*) FROM found) AS total,
    ARRAY(SELECT key_alias FROM found ORDER BY key_alias LIMIT $6 OFFSET $7) AS ids
