SELECT model_id, model_name, litellm_params, sealed, model_info, blocked, created_at, created_by, updated_at, updated_by
FROM models
WHERE model_id = $1
FOR UPDATE
