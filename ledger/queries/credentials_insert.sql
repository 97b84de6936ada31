INSERT INTO credentials
    (credential_name, credential_values, sealed, credential_info, display_name, created_by, updated_by)
VALUES ($1, $2::jsonb, $3, $4::jsonb, $5, $6, $6)
ON CONFLICT (credential_name) DO NOTHING
