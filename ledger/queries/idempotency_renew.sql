UPDATE idempotent_calls AS held
SET leased_until = now() + $3::interval, expires = now() + $4::interval
FROM unnest($1::text[], $2::text[]) AS mine (key, owner)
WHERE held.key = mine.key AND held.owner = mine.owner AND held.state = 'running'
