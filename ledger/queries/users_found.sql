WITH found AS MATERIALIZED (
    SELECT u.user_id, s.spend,
        CASE $8::text
            WHEN 'user_id' THEN u.user_id
            WHEN 'user_email' THEN u.user_email
            WHEN 'user_alias' THEN u.user_alias
            WHEN 'user_role' THEN u.user_role
            WHEN 'spend' THEN ''
            ELSE to_char(u.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
        END AS sort
    FROM users AS u
    LEFT JOIN totals AS s ON $8 = 'spend' AND s.kind = 'user' AND s.id = u.user_id AND s.scope = ''
    WHERE ($1::text IS NULL OR u.user_role = $1)
      AND ($2::text[] IS NULL OR u.user_id = ANY($2))
      AND ($3::text IS NULL OR u.user_id ILIKE $3)
      AND ($4::text IS NULL OR u.user_email ILIKE $4)
      AND ($5::text IS NULL OR u.user_id ILIKE $5 OR u.user_email ILIKE $5)
      AND ($6::text[] IS NULL OR u.sso_user_id = ANY($6))
      AND ($7::text IS NULL OR EXISTS (
          SELECT FROM team_members AS m WHERE m.user_id = u.user_id AND m.team_id = $7
      ))
      AND ($12::text[] IS NULL OR EXISTS (
          SELECT FROM organization_members AS o WHERE o.user_id = u.user_id AND o.organization_id = ANY($12)
      ))
)
SELECT
    (SELECT count(*) FROM found) AS total,
    ARRAY(
        SELECT user_id FROM found
        ORDER BY
            CASE WHEN $9::boolean THEN coalesce(spend, 0) END DESC, CASE WHEN NOT $9 THEN coalesce(spend, 0) END,
            CASE WHEN $9 THEN sort END DESC NULLS LAST, CASE WHEN NOT $9 THEN sort END NULLS LAST, user_id
        LIMIT $10 OFFSET $11
    ) AS ids
