-- One import at a time.
SELECT pg_advisory_xact_lock(x'6C6974656C6C6D'::bigint)
