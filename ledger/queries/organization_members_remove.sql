DELETE FROM organization_members WHERE organization_id = $1 RETURNING user_id
