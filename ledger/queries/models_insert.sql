INSERT INTO models (model_id, model_name, litellm_params, sealed, model_info, blocked, created_by, updated_by)
VALUES ($1, $2, $3::jsonb, $4, $5::jsonb, $6, $7, $7)
ON CONFLICT (model_id) DO NOTHING
RETURNING
    model_id, model_name, litellm_params, sealed, model_info, blocked, created_at, created_by, updated_at, updated_by
