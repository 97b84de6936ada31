UPDATE models
SET model_name = $2, litellm_params = $3::jsonb, sealed = $4, model_info = $5::jsonb, blocked = $6,
    updated_at = now(), updated_by = $7
WHERE model_id = $1
RETURNING
    model_id, model_name, litellm_params, sealed, model_info, blocked, created_at, created_by, updated_at, updated_by
