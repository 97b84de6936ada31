UPDATE virtual_keys SET organization_id = $2 WHERE team_id = $1 AND organization_id IS DISTINCT FROM $2
