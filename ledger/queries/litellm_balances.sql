-- A window moves by the difference between what the source says it has spent and what was known of that.
WITH given AS (
    SELECT g.*, g.spend - coalesce(m.spend, 0) AS more, m.spend IS NULL OR m.spend <> g.spend AS news
    FROM jsonb_to_recordset($1::jsonb) AS g (
        kind text, id text, scope text, period text, began timestamptz, ends timestamptz, spend numeric
    )
    LEFT JOIN imported_spend AS m
        ON m.kind = g.kind AND m.id = g.id AND m.scope = g.scope AND m.period = g.period AND m.began = g.began
),
kept AS (
    INSERT INTO imported_spend AS m (kind, id, scope, period, began, spend)
    SELECT kind, id, scope, period, began, spend FROM given WHERE news ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (kind, id, scope, period, began) DO UPDATE SET spend = excluded.spend
)
INSERT INTO balances AS b (kind, id, scope, period, began, ends, spent)
SELECT kind, id, scope, period, began, ends, more FROM given WHERE news ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (kind, id, scope, period, began) DO UPDATE SET spent = greatest(0, b.spent + excluded.spent)
