SELECT m.*, u.user_email, u.user_alias, u.user_role AS global_role
FROM organization_members AS m
LEFT JOIN users AS u USING (user_id)
WHERE m.organization_id = ANY($1::text[]) AND ($2::text IS NULL OR m.user_id = $2)
ORDER BY m.organization_id, m.created_at, m.user_id
LIMIT $3
