UPDATE credentials
SET credential_values = $2::jsonb, sealed = $3, credential_info = $4::jsonb, display_name = $5,
    updated_at = now(), updated_by = $6
WHERE credential_name = $1
