-- Locks in the order in which accounting takes them, after those of reset_totals.sql.
WITH held AS (
    SELECT balance FROM balances
    WHERE kind = ANY($1::text[]) AND began <= now() AND now() < ends
    ORDER BY kind, id, scope, period, began
    FOR UPDATE
)
UPDATE balances SET spent = 0, alerted = false FROM held WHERE balances.balance = held.balance
