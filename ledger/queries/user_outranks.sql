SELECT
    EXISTS (SELECT 1 FROM users WHERE user_id = $1 AND user_role IN ('proxy_admin', 'proxy_admin_viewer', 'org_admin'))
    OR EXISTS (SELECT 1 FROM team_members WHERE user_id = $1 AND role = 'admin' AND team_id <> ALL ($2::text[]))
    OR EXISTS (SELECT 1 FROM organization_members WHERE user_id = $1 AND user_role = 'org_admin')
