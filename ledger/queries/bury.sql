INSERT INTO dead_letters (queue, reason, message_id, correlation_id, body)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
