WITH gone AS (
    SELECT id, before, at, actor, actor_key
    FROM audit_log
    WHERE entity = 'key' AND action = 'deleted'
      AND (
          $1::boolean
          OR before ->> 'user_id' = $2::text
          OR before ->> 'team_id' = ANY($3::text[])
          OR before ->> 'organization_id' = ANY($4::text[])
      )
      AND ($5::text[] IS NULL OR entity_id = ANY($5))
      AND ($6::text IS NULL OR before ->> 'team_id' = $6)
      AND ($7::text IS NULL OR before ->> 'organization_id' = $7)
      AND ($8::text IS NULL OR before ->> 'key_alias' = $8)
), page AS (
    SELECT * FROM gone ORDER BY id DESC LIMIT $9 OFFSET $10
)
SELECT counted.total, page.before, page.at, page.actor, page.actor_key
FROM (SELECT count(*) AS total FROM gone) AS counted
LEFT JOIN page ON true
ORDER BY page.id DESC
