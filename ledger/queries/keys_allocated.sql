SELECT
    least(coalesce(sum(rpm_limit), 0), 10::numeric ^ 18)::bigint AS requests,
    least(coalesce(sum(tpm_limit), 0), 10::numeric ^ 18)::bigint AS tokens
FROM virtual_keys
WHERE ($1::text IS NULL OR team_id = $1) AND ($2::text IS NULL OR organization_id = $2) AND key_id <> $3
