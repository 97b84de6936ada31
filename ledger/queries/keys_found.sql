-- A list that is NULL takes its condition out of the plan: what is left then has an index.
WITH found AS (
    SELECT k.key_id, k.created_at, k.updated_at, k.key_alias, k.max_budget, k.budget_id, k.budget_duration
    FROM virtual_keys AS k
    LEFT JOIN teams AS t ON t.team_id = k.team_id
    WHERE (
        $1::boolean
        OR ($2::text IS NOT NULL AND k.user_id ILIKE $2)
        OR k.user_id = $3::text
        OR ($4::text[] IS NOT NULL AND k.team_id = ANY($4))
        OR ($5::text[] IS NOT NULL AND k.user_id IS NULL AND k.team_id = ANY($5))
        OR (
            $6::text[] IS NOT NULL
            AND CASE WHEN k.team_id IS NULL THEN k.organization_id ELSE t.organization_id END = ANY($6)
        )
        OR ($7::text IS NOT NULL AND k.created_by = $7 AND (k.team_id IS NULL OR k.team_id = ANY($8::text[])))
    )
    AND ($10::text[] IS NULL OR k.key_id = ANY($10))
    AND ($11::text IS NULL OR k.team_id = $11)
    AND ($12::text IS NULL OR k.organization_id = $12 OR t.organization_id = $12)
    AND ($13::text IS NULL OR k.key_alias ILIKE $13)
    AND ($14::text IS NULL OR k.key_alias = $14)
    AND ($15::text IS NULL OR k.key_alias ILIKE $15 OR k.key_id = ANY($16::text[]))
    AND ($17::text IS NULL OR k.extra ->> 'project_id' = $17)
    AND ($18::text IS NULL OR k.extra ->> 'agent_id' = $18)
    AND ($19::text IS NULL OR k.extra -> 'access_group_ids' ? $19)
    AND CASE $20::text
        WHEN 'revoked' THEN k.blocked
        WHEN 'expired' THEN NOT k.blocked AND k.expires < $9::timestamptz
        WHEN 'active' THEN NOT k.blocked AND (k.expires IS NULL OR k.expires >= $9)
        ELSE true
    END
    AND CASE $21::text
        WHEN 'expired' THEN k.expires < $9
        WHEN 'active' THEN k.expires IS NULL OR k.expires >= $9
        ELSE true
    END
), sorted AS (
    SELECT
        found.key_id,
        CASE $22::text
            WHEN 'max_budget' THEN found.max_budget
            WHEN 'spend' THEN CASE
                WHEN coalesce(found.budget_duration, g.budget_duration, '') = '' THEN coalesce(b.spent, s.spend, 0)
                ELSE coalesce(b.spent, 0)
            END
        END AS amount,
        CASE $22 WHEN 'created_at' THEN found.created_at WHEN 'updated_at' THEN found.updated_at END AS moment,
        CASE $22 WHEN 'key_alias' THEN found.key_alias WHEN 'token' THEN found.key_id END AS name
    FROM found
    LEFT JOIN budgets AS g ON $22 = 'spend' AND g.budget_id = found.budget_id
    LEFT JOIN totals AS s ON $22 = 'spend' AND s.kind = 'key' AND s.id = found.key_id AND s.scope = ''
    LEFT JOIN balances AS b
        ON $22 = 'spend' AND b.kind = 'key' AND b.id = found.key_id AND b.scope = ''
        AND b.period = coalesce(found.budget_duration, g.budget_duration, '')
        AND b.began <= $9 AND $9 < b.ends
)
SELECT
    (SELECT count(*) FROM found) AS total,
    ARRAY(
        SELECT key_id
        FROM sorted
        ORDER BY
            CASE WHEN $23::boolean THEN amount END DESC NULLS LAST, CASE WHEN NOT $23 THEN amount END NULLS LAST,
            CASE WHEN $23 THEN moment END DESC NULLS LAST, CASE WHEN NOT $23 THEN moment END NULLS LAST,
            CASE WHEN $23 THEN name END DESC NULLS LAST, CASE WHEN NOT $23 THEN name END NULLS LAST,
            key_id
        LIMIT $24 OFFSET $25
    ) AS ids
