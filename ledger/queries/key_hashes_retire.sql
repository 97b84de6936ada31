WITH gone AS (
    DELETE FROM key_hashes WHERE key_id = $1 AND $2::timestamptz IS NULL
)
UPDATE key_hashes SET until = least(until, $2) WHERE key_id = $1 AND $2 IS NOT NULL
