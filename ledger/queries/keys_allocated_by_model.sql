-- What is stored and no limit, a number below 0 or above 10^15, is nobody's.
SELECT limits.field, model.key AS model, least(sum(model.amount), 10::numeric ^ 18)::bigint AS amount
FROM virtual_keys AS k
CROSS JOIN LATERAL jsonb_each(k.metadata) AS limits (field, value)
CROSS JOIN LATERAL (
    SELECT each.key, CASE WHEN jsonb_typeof(each.value) = 'number' THEN each.value::numeric END AS amount
    FROM jsonb_each(CASE WHEN jsonb_typeof(limits.value) = 'object' THEN limits.value ELSE '{}' END) AS each
) AS model
WHERE ($1::text IS NULL OR k.team_id = $1) AND ($2::text IS NULL OR k.organization_id = $2) AND k.key_id <> $3
  AND limits.field IN ('model_rpm_limit', 'model_tpm_limit') AND model.amount BETWEEN 0 AND 10::numeric ^ 15
GROUP BY limits.field, model.key
