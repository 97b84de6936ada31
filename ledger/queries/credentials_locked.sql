SELECT credential_name, credential_values, sealed, credential_info, display_name, updated_at
FROM credentials
WHERE credential_name = $1
FOR UPDATE
