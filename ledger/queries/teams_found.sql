WITH found AS MATERIALIZED (
    SELECT t.team_id,
        CASE $8::text
            WHEN 'team_id' THEN t.team_id
            WHEN 'team_alias' THEN t.team_alias
            ELSE to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
        END AS sort
    FROM teams AS t
    WHERE ($1::text IS NULL OR t.team_id = $1)
      AND ($2::text IS NULL OR t.team_alias ILIKE $2)
      AND ($3::text IS NULL OR t.team_id = $3 OR t.team_alias ILIKE $4)
      AND ($5::text IS NULL OR t.organization_id = $5 OR ($5 = '' AND t.organization_id IS NULL))
      AND ($6::text IS NULL OR EXISTS (
          SELECT FROM team_members AS m WHERE m.team_id = t.team_id AND m.user_id = $6
      ))
      AND ($7::text[] IS NULL OR t.organization_id = ANY($7) OR EXISTS (
          SELECT FROM team_members AS m WHERE m.team_id = t.team_id AND m.user_id = $12
      ) OR t.team_id = $13)
)
SELECT
    (SELECT count(*) FROM found) AS total,
    ARRAY(
        SELECT team_id FROM found
        ORDER BY CASE WHEN $9::boolean THEN sort END DESC NULLS LAST, CASE WHEN NOT $9 THEN sort END NULLS LAST, team_id
        LIMIT $10 OFFSET $11
    ) AS ids
