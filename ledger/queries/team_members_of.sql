SELECT m.team_id, m.user_id, m.role, m.budget_id, u.user_email, u.user_alias
FROM team_members AS m
LEFT JOIN users AS u USING (user_id)
WHERE m.team_id = ANY($1::text[]) AND ($2::text IS NULL OR m.user_id = $2)
ORDER BY m.team_id, m.created_at, m.user_id
LIMIT $3
