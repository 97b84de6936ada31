-- The same for somebody who has no key but has proved who he is; $2 and $3 may be NULL.
SELECT
    NULL::jsonb AS key, NULL::timestamptz AS until, true AS first,
    to_jsonb(t) AS team, to_jsonb(u) AS "user", to_jsonb(o) AS organization, to_jsonb(m) AS member,
    NULL::jsonb AS key_budget, to_jsonb(mb) AS member_budget, to_jsonb(ob) AS organization_budget,
    to_jsonb(om) AS organization_member, to_jsonb(omb) AS organization_member_budget,
    to_jsonb(md) AS member_default,
    (SELECT jsonb_agg(jsonb_build_array(x.team_id, x.role)) FROM team_members AS x WHERE x.user_id = $1) AS teams,
    (
        SELECT jsonb_agg(jsonb_build_array(x.organization_id, x.user_role))
        FROM organization_members AS x WHERE x.user_id = $1
    ) AS organizations
FROM (VALUES ($1::text, $2::text, $3::text)) AS asked (user_id, team_id, organization_id)
LEFT JOIN users AS u ON u.user_id = asked.user_id
LEFT JOIN teams AS t ON t.team_id = asked.team_id
LEFT JOIN organizations AS o ON o.organization_id = coalesce(asked.organization_id, t.organization_id)
LEFT JOIN team_members AS m ON m.team_id = asked.team_id AND m.user_id = asked.user_id
LEFT JOIN budgets AS mb ON mb.budget_id = m.budget_id
LEFT JOIN budgets AS ob ON ob.budget_id = o.budget_id
LEFT JOIN organization_members AS om ON om.organization_id = o.organization_id AND om.user_id = asked.user_id
LEFT JOIN budgets AS omb ON omb.budget_id = om.budget_id
LEFT JOIN budgets AS md ON md.budget_id = t.metadata ->> 'team_member_budget_id'
