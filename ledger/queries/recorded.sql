-- A process that begins holds nothing: it has come as far as all the others.
INSERT INTO recorded (process, at) VALUES ($1, coalesce(to_timestamp($2), leases_lapse()))
ON CONFLICT (process) DO UPDATE SET at = excluded.at, said = excluded.said
