WITH noted AS (
    INSERT INTO changes (name) VALUES ($4 || ':' || $5)
)
INSERT INTO audit_log (actor, actor_key, action, entity, entity_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb)
