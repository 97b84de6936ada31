-- Several processes purge: each takes what no other has in hand. The array makes the inner query run once.
DELETE FROM idempotent_calls
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotent_calls
    WHERE expires <= now() AND leased_until <= now()
    LIMIT $1
    FOR UPDATE SKIP LOCKED
))
