-- The window of an account's budget, if nothing was ever leased in it.
SELECT balance_of($1, $2, $3, $4, $5, $6)
WHERE NOT EXISTS (
    SELECT FROM balances
    WHERE kind = $1 AND id = $2 AND scope = $3 AND period = $4 AND began < $6::timestamptz AND $5::timestamptz < ends
)
