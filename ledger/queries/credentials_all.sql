SELECT credential_name, credential_values, sealed, credential_info, display_name, updated_at
FROM credentials
ORDER BY credential_name
