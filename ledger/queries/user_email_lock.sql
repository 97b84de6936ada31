SELECT pg_advisory_xact_lock(hashtextextended(lower($1::text), 4))
