SELECT id, at, actor, actor_key, action, entity, entity_id, before, after
FROM audit_log
WHERE id = $1
