SELECT organization_id
FROM organizations
WHERE ($1::text[] IS NULL OR organization_id = ANY($1)) AND ($2::text IS NULL OR organization_alias ILIKE $2)
ORDER BY created_at, organization_id
LIMIT $3 OFFSET $4
