-- The first condition is the one under which idempotency_claim.sql takes a row over.
SELECT
    CASE
        WHEN leased_until <= now() AND (expires <= now() OR (state = 'running' AND body = $2)) THEN 'free'
        WHEN body <> $2 THEN 'other'
        ELSE state
    END AS state,
    CASE WHEN body = $2 THEN answer END AS answer
FROM idempotent_calls
WHERE key = $1
