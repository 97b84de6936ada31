INSERT INTO totals (kind, id, scope, spend) VALUES ($1, $2, $3, $4)
ON CONFLICT (kind, id, scope) DO UPDATE SET spend = EXCLUDED.spend
