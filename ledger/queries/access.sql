-- Everything about the key behind a hash, in one round trip: rows as JSON, NULL where there is none.
SELECT
    to_jsonb(k) AS key, h.until, h.hash = k.key_id AS first,
    to_jsonb(t) AS team, to_jsonb(u) AS "user", to_jsonb(o) AS organization, to_jsonb(m) AS member,
    to_jsonb(kb) AS key_budget, to_jsonb(mb) AS member_budget, to_jsonb(ob) AS organization_budget,
    to_jsonb(om) AS organization_member, to_jsonb(omb) AS organization_member_budget,
    to_jsonb(md) AS member_default,
    (SELECT jsonb_agg(jsonb_build_array(x.team_id, x.role)) FROM team_members AS x WHERE x.user_id = k.user_id) AS teams,
    (
        SELECT jsonb_agg(jsonb_build_array(x.organization_id, x.user_role))
        FROM organization_members AS x WHERE x.user_id = k.user_id
    ) AS organizations
FROM key_hashes AS h
JOIN virtual_keys AS k USING (key_id)
LEFT JOIN teams AS t ON t.team_id = k.team_id
LEFT JOIN users AS u ON u.user_id = k.user_id
LEFT JOIN organizations AS o ON o.organization_id = coalesce(t.organization_id, k.organization_id)
LEFT JOIN team_members AS m ON m.team_id = k.team_id AND m.user_id = k.user_id
LEFT JOIN budgets AS kb ON kb.budget_id = k.budget_id
LEFT JOIN budgets AS mb ON mb.budget_id = m.budget_id
LEFT JOIN budgets AS ob ON ob.budget_id = o.budget_id
LEFT JOIN organization_members AS om ON om.organization_id = o.organization_id AND om.user_id = k.user_id
LEFT JOIN budgets AS omb ON omb.budget_id = om.budget_id
LEFT JOIN budgets AS md ON md.budget_id = t.metadata ->> 'team_member_budget_id'
WHERE h.hash = $1 AND (h.until IS NULL OR h.until > now())
