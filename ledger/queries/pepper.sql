-- The update that changes nothing lets RETURNING give the row that was there.
INSERT INTO secrets AS kept (name, value, sealed) VALUES ('pepper', $1, $2)
ON CONFLICT (name) DO UPDATE SET name = kept.name
RETURNING value, sealed
