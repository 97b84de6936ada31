-- Locked in the order in which accounting locks them.
WITH locked AS (
    SELECT balance FROM balances
    WHERE kind IN ('key', 'key_model') AND id = ANY($1::text[])
    ORDER BY kind, id, scope, period, began
    FOR UPDATE
)
DELETE FROM balances USING locked WHERE balances.balance = locked.balance
