UPDATE team_members SET budget_id = $2, updated_at = now() WHERE team_id = $1 AND budget_id IS NULL RETURNING user_id
