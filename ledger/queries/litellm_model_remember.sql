INSERT INTO imported_rows (entity, id, digest) VALUES ('model', jsonb_build_array($1::text)::text, $2)
ON CONFLICT (entity, id) DO UPDATE SET digest = excluded.digest
