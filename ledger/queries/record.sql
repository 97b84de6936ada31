-- One statement, one round trip, one transaction: rows, and the sums over exactly the rows that were new.
-- With $34 (second pass) a real event first takes the place of the lost row of its attempt, and the sums move by
-- the difference. `gone` must end before the first insert, which the scalar subquery in `ins` forces.
-- Locks: rows in the order of the batch (sorted by the caller), then sums in the order of their key; so no deadlocks.
WITH batch AS (
    SELECT
        attempt, timestamptz 'epoch' + started * interval '1 microsecond' AS started,
        timestamptz 'epoch' + ended * interval '1 microsecond' AS ended,
        timestamptz 'epoch' + first_byte * interval '1 microsecond' AS first_byte,
        request, status, http_status, failure, endpoint, stream, model_group, model, provider, deployment, worker,
        key_hash, key_alias, user_id, team, organization, end_user,
        coalesce(string_to_array(tags, E'\x1f'), '{}') AS tags,
        prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost,
        coalesce(metadata::jsonb, '{}') AS metadata
    FROM unnest(
        $1::text[], $2::bigint[], $3::bigint[], $4::bigint[],
        $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::boolean[],
        $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
        $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[],
        $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[],
        $30::boolean[], $31::boolean[], $32::numeric[], $33::text[]
    ) AS given (
        attempt, started, ended, first_byte,
        request, status, http_status, failure, endpoint, stream,
        model_group, model, provider, deployment, worker,
        key_hash, key_alias, user_id, team, organization, end_user, tags,
        prompt, completion, cached, cache_write, reasoning, audio_in, audio_out,
        estimated, lost, cost, metadata
    )
),
gone AS (
    DELETE FROM spend_logs AS old USING batch
    WHERE $34::boolean AND old.lost AND NOT batch.lost AND old.attempt = batch.attempt AND old.started = batch.started
    RETURNING old.*
),
ins AS (
    INSERT INTO spend_logs (
        attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, stream,
        model_group, model, provider, deployment, worker,
        key_hash, key_alias, user_id, team, organization, end_user, tags,
        prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata
    )
    SELECT * FROM batch WHERE (SELECT count(*) FROM gone) >= 0
    ON CONFLICT (attempt, started) DO NOTHING
    RETURNING *
),
moved AS (
    SELECT 1 AS sign, ins.* FROM ins UNION ALL SELECT -1, gone.* FROM gone
),
sums AS (
    INSERT INTO daily_spend AS d (
        day, dimension, value, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures, unpriced
    )
    SELECT
        (started AT TIME ZONE 'UTC')::date, dimension, value, model_group, model, provider,
        sum(sign * coalesce(cost, 0)), sum(sign * prompt), sum(sign * completion), sum(sign * cached),
        sum(sign * cache_write), sum(sign),
        coalesce(sum(sign) FILTER (WHERE status = 'success'), 0),
        coalesce(sum(sign) FILTER (WHERE status IN ('failure', 'lost')), 0),
        coalesce(sum(sign) FILTER (WHERE cost IS NULL), 0)
    FROM moved CROSS JOIN LATERAL (
        VALUES ('all', ''), ('key', key_hash), ('team', team), ('user', user_id), ('organization', organization)
        UNION ALL SELECT 'tag', unnest(tags)
    ) AS paid (dimension, value)
    WHERE value <> '' OR dimension = 'all'
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (day, dimension, value, model_group, model, provider) DO UPDATE SET
        spend = d.spend + excluded.spend,
        prompt = d.prompt + excluded.prompt,
        completion = d.completion + excluded.completion,
        cached = d.cached + excluded.cached,
        cache_write = d.cache_write + excluded.cache_write,
        requests = d.requests + excluded.requests,
        successes = d.successes + excluded.successes,
        failures = d.failures + excluded.failures,
        unpriced = d.unpriced + excluded.unpriced
)
SELECT count(*) FROM ins
