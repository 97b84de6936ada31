SELECT count(*)
FROM audit_log
WHERE ($1::text[] IS NULL OR entity = ANY($1))
  AND ($2::text IS NULL OR entity_id = $2)
  AND ($3::text IS NULL OR actor = $3)
  AND ($4::text IS NULL OR actor_key = $4)
  AND ($5::text IS NULL OR action = $5)
  AND ($6::timestamptz IS NULL OR at >= $6)
  AND ($7::timestamptz IS NULL OR at <= $7)
