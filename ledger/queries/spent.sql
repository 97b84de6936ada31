SELECT
    asked.kind, asked.id, asked.scope,
    coalesce(t.spend, 0) AS total_spend,
    CASE WHEN asked.period = '' THEN coalesce(b.spent, t.spend, 0) ELSE coalesce(b.spent, 0) END AS window_spend
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS asked (kind, id, scope, period)
LEFT JOIN totals AS t USING (kind, id, scope)
LEFT JOIN balances AS b
    ON b.kind = asked.kind AND b.id = asked.id AND b.scope = asked.scope AND b.period = asked.period
    AND b.began <= now() AND now() < b.ends
