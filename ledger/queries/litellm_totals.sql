-- Totals grow by what the source has more than was known of it. There a sum may begin anew; here it never shrinks.
WITH given AS (
    SELECT g.*, greatest(0, g.spend - coalesce(m.spend, 0)) AS more
    FROM jsonb_to_recordset($1::jsonb) AS g (kind text, id text, scope text, spend numeric)
    LEFT JOIN imported_spend AS m
        ON m.kind = g.kind AND m.id = g.id AND m.scope = g.scope AND m.period = 'total'
),
kept AS (
    INSERT INTO imported_spend AS m (kind, id, scope, period, began, spend)
    SELECT kind, id, scope, 'total', '-infinity', spend FROM given WHERE more > 0 ORDER BY 1, 2, 3
    ON CONFLICT (kind, id, scope, period, began) DO UPDATE SET spend = excluded.spend
)
INSERT INTO totals AS t (kind, id, scope, spend)
SELECT kind, id, scope, more FROM given WHERE more > 0 ORDER BY 1, 2, 3
ON CONFLICT (kind, id, scope) DO UPDATE SET spend = t.spend + excluded.spend
