-- One statement, one round trip, one transaction: rows, and the sums over exactly the rows that were new.
-- With $2 (second pass) a real event first takes the place of the lost row of its attempt, and the sums move by
-- the difference. `gone` must end before the first insert, which the scalar subquery in `ins` forces.
-- Locks: rows in the order of the batch (sorted by the caller), then sums in the order of their key; so no deadlocks.
WITH batch AS (
    SELECT
        attempt,
        timestamptz 'epoch' + started * interval '1 microsecond' AS started,
        timestamptz 'epoch' + ended * interval '1 microsecond' AS ended,
        timestamptz 'epoch' + first_byte * interval '1 microsecond' AS first_byte,
        request, status, http_status, failure, endpoint, stream,
        model_group, model, provider, deployment, worker,
        key_hash, coalesce(key_alias, '') AS key_alias, user_id, team, organization, coalesce(end_user, '') AS end_user,
        coalesce(tags, '{}') AS tags,
        prompt, completion, coalesce(cached, 0) AS cached, coalesce(cache_write, 0) AS cache_write,
        coalesce(reasoning, 0) AS reasoning, coalesce(audio_in, 0) AS audio_in, coalesce(audio_out, 0) AS audio_out,
        coalesce(estimated, false) AS estimated, coalesce(lost, false) AS lost, cost,
        coalesce(metadata, '{}') AS metadata, coalesce(leases, '{}') AS leases, coalesce(reserved, 0) AS reserved,
        reservation
    FROM json_to_recordset($1::json) AS given (
        attempt text, started bigint, ended bigint, first_byte bigint,
        request text, status text, http_status integer, failure text, endpoint text, stream boolean,
        model_group text, model text, provider text, deployment text, worker text,
        key_hash text, key_alias text, user_id text, team text, organization text, end_user text, tags text[],
        prompt bigint, completion bigint, cached bigint, cache_write bigint,
        reasoning bigint, audio_in bigint, audio_out bigint,
        estimated boolean, lost boolean, cost numeric, metadata jsonb, leases bigint[], reserved bigint,
        reservation integer
    )
),
gone AS (
    DELETE FROM spend_logs AS old USING batch
    WHERE $2::boolean AND old.lost AND NOT batch.lost AND old.attempt = batch.attempt AND old.started = batch.started
    RETURNING
        old.started, old.key_hash, old.team, old.user_id, old.organization, old.end_user, old.tags,
        old.model_group, old.model, old.provider, old.status, old.cost,
        old.prompt, old.completion, old.cached, old.cache_write
),
ins AS (
    INSERT INTO spend_logs (
        attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, stream,
        model_group, model, provider, deployment, worker,
        key_hash, key_alias, user_id, team, organization, end_user, tags,
        prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata,
        reservation
    )
    SELECT
        attempt, started, ended, first_byte, request, status, http_status, failure, endpoint, stream,
        model_group, model, provider, deployment, worker,
        key_hash, key_alias, user_id, team, organization, end_user, tags,
        prompt, completion, cached, cache_write, reasoning, audio_in, audio_out, estimated, lost, cost, metadata,
        reservation
    FROM batch WHERE (SELECT count(*) FROM gone) >= 0
    ON CONFLICT (attempt, started) DO NOTHING
    RETURNING
        attempt, started, key_hash, team, user_id, organization, end_user, tags,
        model_group, model, provider, status, cost,
        prompt, completion, cached, cache_write
),
changed AS (
    SELECT 1 AS sign, * FROM ins UNION ALL SELECT -1, '', * FROM gone
),
-- Sums first by everything that pays, then by each: the second step sees a few rows where the first saw a batch.
moved AS (
    SELECT
        (started AT TIME ZONE 'UTC')::date AS day, key_hash, team, user_id, organization, end_user, tags,
        model_group, model, provider,
        sum(sign * coalesce(cost, 0)) AS spend, sum(sign * prompt) AS prompt, sum(sign * completion) AS completion,
        sum(sign * cached) AS cached, sum(sign * cache_write) AS cache_write, sum(sign) AS requests,
        sum(CASE status WHEN 'success' THEN sign ELSE 0 END) AS successes,
        sum(CASE WHEN status IN ('failure', 'lost') THEN sign ELSE 0 END) AS failures,
        sum(CASE WHEN cost IS NULL THEN sign ELSE 0 END) AS unpriced
    FROM changed
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
),
sums AS (
    INSERT INTO daily_spend AS d (
        day, dimension, value, model_group, model, provider,
        spend, prompt, completion, cached, cache_write, requests, successes, failures, unpriced
    )
    SELECT
        day, dimension, value, model_group, model, provider,
        sum(spend), sum(prompt), sum(completion), sum(cached), sum(cache_write),
        sum(requests), sum(successes), sum(failures), sum(unpriced)
    FROM moved CROSS JOIN LATERAL (
        VALUES ('all', ''), ('key', key_hash), ('team', team), ('user', user_id), ('organization', organization),
            ('customer', end_user)
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
SELECT
    (SELECT count(*) FROM ins) AS stored,
    (
        SELECT settle(jsonb_agg(jsonb_build_object(
            'n', n, 'started', started, 'key_hash', key_hash, 'team', team, 'user_id', user_id,
            'organization', organization, 'end_user', end_user, 'tags', tags, 'model_group', model_group,
            'cost', cost, 'leases', leases, 'reserved', reserved,
            'attempt', attempt, 'request', request, 'reservation', reservation
        )))
        FROM (
            SELECT
                row_number() OVER () AS n, (extract(epoch FROM c.started) * 1000000)::bigint AS started,
                c.key_hash, c.team, c.user_id, c.organization, c.end_user, c.tags, c.model_group,
                c.sign * coalesce(c.cost, 0) AS cost, b.leases, coalesce(b.reserved, 0) AS reserved,
                b.attempt, b.request, b.reservation
            FROM changed AS c LEFT JOIN batch AS b ON b.attempt = c.attempt AND b.started = c.started
        ) AS one
    ) AS alerts
