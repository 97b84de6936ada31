-- What nobody can need any more: ended secrets, leases whose calls are all recorded, windows of long ago, rates of keys
-- that are gone, accounting processes that are.
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
DELETE FROM rates AS r
WHERE r.kind IN ('key', 'key_model') AND NOT EXISTS (SELECT FROM virtual_keys AS k WHERE k.key_id = r.id)
