-- Locks in the order in which accounting takes them, so that neither waits for the other in a circle.
WITH held AS (
    SELECT kind, id, scope FROM totals WHERE kind = ANY($1::text[]) AND spend <> 0 ORDER BY kind, id, scope FOR UPDATE
)
UPDATE totals SET spend = 0 FROM held
WHERE totals.kind = held.kind AND totals.id = held.id AND totals.scope = held.scope
