-- What nobody can need any more: ended secrets, leases whose calls are all recorded, windows of long ago, accounting
-- processes that are gone, rates that nobody has used for two days (a rate's window is a day at most). Of the rates it waits
-- for none, because others lock several of them in an order.
WITH secrets AS (
    DELETE FROM key_hashes WHERE until < now()
),
old_leases AS (
    DELETE FROM leases WHERE until < (SELECT leases_lapse()) - interval '1 day'
),
old_processes AS (
    DELETE FROM recorded WHERE said < (SELECT max(said) FROM recorded) - interval '1 hour'
),
old_windows AS (
    DELETE FROM balances WHERE ends < now() - $1 * interval '1 second'
),
old_holds AS (
    DELETE FROM rate_holds WHERE until < now() - interval '1 day'
)
DELETE FROM rates AS r USING (
    SELECT u.kind, u.id, u.scope, u.unit FROM rates AS u
    WHERE coalesce(u.ats[cardinality(u.ats)], 0) < extract(epoch FROM now()) - 2 * 86400 AND NOT EXISTS (
        SELECT FROM rate_holds AS h
        WHERE h.kind = u.kind AND h.id = u.id AND h.scope = u.scope AND h.unit = u.unit
    )
    FOR UPDATE SKIP LOCKED
) AS unused
WHERE r.kind = unused.kind AND r.id = unused.id AND r.scope = unused.scope AND r.unit = unused.unit
