WITH t AS (DELETE FROM team_members WHERE user_id = $1 RETURNING team_id),
    o AS (DELETE FROM organization_members WHERE user_id = $1 RETURNING organization_id),
    p AS (DELETE FROM passwords WHERE user_id = $1),
    i AS (DELETE FROM invitations WHERE user_id = $1 OR created_by = $1)
SELECT ARRAY(SELECT team_id FROM t) AS teams, ARRAY(SELECT organization_id FROM o) AS organizations
