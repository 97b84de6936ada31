WITH old AS (
    DELETE FROM changes WHERE at < now() - $2 * interval '1 second'
)
INSERT INTO changes (name) SELECT unnest($1::text[])
