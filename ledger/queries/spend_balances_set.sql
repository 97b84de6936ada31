-- Locked in the order in which accounting locks them.
WITH locked AS (
    SELECT balance, CASE WHEN period = $6 THEN $4::numeric ELSE least(spent, $4) END AS amount
    FROM balances
    WHERE kind = $1 AND id = $2 AND scope = $3 AND began <= $5::timestamptz AND $5 < ends
    ORDER BY kind, id, scope, period, began
    FOR UPDATE
)
UPDATE balances SET spent = locked.amount, alerted = alerted AND locked.amount >= soft
FROM locked WHERE balances.balance = locked.balance
