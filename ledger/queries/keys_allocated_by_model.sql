SELECT limits.field, model.key AS model, sum(model.value::text::numeric)::bigint AS amount
FROM virtual_keys AS k
CROSS JOIN LATERAL jsonb_each(k.metadata) AS limits (field, value)
CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(limits.value) = 'object' THEN limits.value ELSE '{}' END) AS model
WHERE ($1::text IS NULL OR k.team_id = $1) AND ($2::text IS NULL OR k.organization_id = $2) AND k.key_id <> $3
  AND limits.field IN ('model_rpm_limit', 'model_tpm_limit') AND jsonb_typeof(model.value) = 'number'
GROUP BY limits.field, model.key
