-- Who may call, what they may spend, and what they have spent. Money is US dollars, numeric; NULL is "no limit".
-- Every kind of payer is named by (kind, id, scope) in totals, balances and rates; see schemas/access.py.

CREATE TABLE secrets (
    name text PRIMARY KEY,
    value text NOT NULL,
    sealed boolean NOT NULL  -- with the salt key
);

CREATE TABLE budgets (
    budget_id text PRIMARY KEY,
    max_budget numeric,
    soft_budget numeric,
    budget_duration text,
    max_parallel_requests bigint,
    rpm_limit bigint,
    tpm_limit bigint,
    tpd_limit bigint,
    model_max_budget jsonb NOT NULL DEFAULT '{}',
    allowed_models text[] NOT NULL DEFAULT '{}',
    extra jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);

CREATE TABLE organizations (
    organization_id text PRIMARY KEY,
    organization_alias text NOT NULL DEFAULT '',
    budget_id text,
    models text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    extra jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);

CREATE TABLE users (
    user_id text PRIMARY KEY,
    user_alias text,
    user_email text,
    user_role text,
    sso_user_id text,
    models text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    max_budget numeric,
    soft_budget numeric,
    budget_duration text,
    model_max_budget jsonb NOT NULL DEFAULT '{}',
    rpm_limit bigint,
    tpm_limit bigint,
    tpd_limit bigint,
    max_parallel_requests bigint,
    extra jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);
CREATE INDEX users_email ON users (lower(user_email));
CREATE INDEX users_sso ON users (sso_user_id);

-- Apart from `users`, so that no listing of users ever holds one.
CREATE TABLE passwords (
    user_id text PRIMARY KEY,
    hash text NOT NULL,  -- `scrypt:` and base64 of salt and key, as LiteLLM stores it
    reset_required boolean NOT NULL DEFAULT false,  -- somebody else has set it
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE invitations (
    id text PRIMARY KEY,  -- a secret: who has it may set the user's password
    user_id text NOT NULL,
    is_accepted boolean NOT NULL DEFAULT false,
    accepted_at timestamptz,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL
);
CREATE INDEX invitations_user ON invitations (user_id);

CREATE TABLE organization_members (
    organization_id text NOT NULL,
    user_id text NOT NULL,
    user_role text,
    budget_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_members_user ON organization_members (user_id);

CREATE TABLE teams (
    team_id text PRIMARY KEY,
    team_alias text,
    organization_id text,
    models text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    blocked boolean NOT NULL DEFAULT false,
    max_budget numeric,
    soft_budget numeric,
    budget_duration text,
    model_max_budget jsonb NOT NULL DEFAULT '{}',
    rpm_limit bigint,
    tpm_limit bigint,
    tpd_limit bigint,
    max_parallel_requests bigint,
    extra jsonb NOT NULL DEFAULT '{}',  -- model_aliases, team_member_permissions, …
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);
CREATE INDEX teams_organization ON teams (organization_id);

CREATE TABLE team_members (
    team_id text NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'user')),
    budget_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX team_members_user ON team_members (user_id);

CREATE TABLE virtual_keys (
    key_id text PRIMARY KEY,  -- the first hash: it stays the key's name when the secret is rotated
    key_name text NOT NULL,  -- `sk-...AbCd`
    key_alias text UNIQUE,
    user_id text,
    team_id text,
    organization_id text,
    models text[] NOT NULL DEFAULT '{}',
    aliases jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    blocked boolean NOT NULL DEFAULT false,
    expires timestamptz,
    budget_id text,
    max_budget numeric,
    soft_budget numeric,
    budget_duration text,
    budget_limits jsonb NOT NULL DEFAULT '[]',
    model_max_budget jsonb NOT NULL DEFAULT '{}',
    rpm_limit bigint,
    tpm_limit bigint,
    tpd_limit bigint,
    max_parallel_requests bigint,
    allowed_routes text[] NOT NULL DEFAULT '{}',
    key_type text,
    service boolean NOT NULL DEFAULT false,
    auto_rotate boolean NOT NULL DEFAULT false,
    rotation_interval text,
    rotation_count bigint NOT NULL DEFAULT 0,
    last_rotation_at timestamptz,
    key_rotation_at timestamptz,
    extra jsonb NOT NULL DEFAULT '{}',  -- config, permissions, router_settings, …
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);
CREATE INDEX virtual_keys_user ON virtual_keys (user_id);
CREATE INDEX virtual_keys_team ON virtual_keys (team_id);
CREATE INDEX virtual_keys_organization ON virtual_keys (organization_id);
CREATE INDEX virtual_keys_rotation ON virtual_keys (key_rotation_at) WHERE auto_rotate;

-- What proves that somebody has a key: HMAC-SHA-256(pepper, SHA-256(secret)), hex. A rotated key has two for a while.
CREATE TABLE key_hashes (
    hash text PRIMARY KEY,
    key_id text NOT NULL REFERENCES virtual_keys ON DELETE CASCADE,
    until timestamptz  -- NULL: the present one
);
CREATE INDEX key_hashes_key ON key_hashes (key_id);

CREATE TABLE customers (
    user_id text PRIMARY KEY,
    alias text,
    blocked boolean NOT NULL DEFAULT false,
    budget_id text,
    models text[] NOT NULL DEFAULT '{}',
    extra jsonb NOT NULL DEFAULT '{}',  -- allowed_model_region, default_model, …
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);

CREATE TABLE tags (
    tag_name text PRIMARY KEY,
    description text,
    models text[] NOT NULL DEFAULT '{}',
    budget_id text,
    extra jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,  -- a user's id, or what else acted
    actor_key text NOT NULL,  -- the key's id; '' when it was no key
    action text NOT NULL,
    entity text NOT NULL,
    entity_id text NOT NULL,
    before jsonb,
    after jsonb
);
CREATE INDEX audit_log_entity ON audit_log (entity, entity_id, id);
CREATE INDEX audit_log_at ON audit_log (at);
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();

-- Names of entities that were changed lately (`key:<id>` …), for processes that missed the event. See ledger/changes.py.
CREATE TABLE changes (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name text NOT NULL
);
CREATE INDEX changes_at ON changes (at);

-- Everything that a payer ever spent; moved with the rows of spend_logs.
CREATE TABLE totals (
    kind text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    spend numeric NOT NULL,
    PRIMARY KEY (kind, id, scope)
) WITH (fillfactor = 60);

-- One row per window of a budget. What may still be leased: limit - spent - what its leases hold.
CREATE TABLE balances (
    balance bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    period text NOT NULL,  -- a duration, '' for all time
    began timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    spent numeric NOT NULL,
    soft numeric,  -- an alert is raised once when `spent` passes it
    alerted boolean NOT NULL DEFAULT false,
    UNIQUE (kind, id, scope, period, began)
) WITH (fillfactor = 60);
CREATE INDEX balances_ends ON balances (ends);

-- What one process holds of a balance: calls it has reserved for, and what it may still reserve. In each era it has a
-- lease of its own: what was lost of one (calls that nobody could record) comes back, however busy the process is.
CREATE TABLE leases (
    lease bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    balance bigint NOT NULL REFERENCES balances ON DELETE CASCADE,
    holder text NOT NULL,
    era bigint NOT NULL,
    outstanding bigint NOT NULL,  -- nano-dollars
    asked bigint NOT NULL,  -- the number of the holder's last question that changed it
    granted bigint NOT NULL,  -- by that question: it is undone when its answer did not arrive
    beyond bigint NOT NULL DEFAULT 0,  -- what its calls that are recorded cost beyond what was reserved for them
    paid bigint NOT NULL DEFAULT 0,  -- of that, what the holder gave up of what it held: it is not outstanding any more
    until timestamptz NOT NULL,  -- then every call that was reserved from it has ended and is recorded
    UNIQUE (balance, holder, era)
) WITH (fillfactor = 60);

-- How far each accounting process has come: of what was in its hands, calls that ended before `at` are recorded.
CREATE TABLE recorded (
    process text PRIMARY KEY,
    at timestamptz NOT NULL,
    said timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 60);

-- Which of its request's reservations the call's event gave back; NULL: none. Several attempts may share one.
ALTER TABLE spend_logs ADD COLUMN reservation integer;

-- Limits per window of time (rpm, tpm, tpd) and of calls under way (parallel).
CREATE TABLE rates (
    kind text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    unit text NOT NULL,
    ats bigint[] NOT NULL DEFAULT '{}',  -- seconds since 1970: ends of the buckets in which something was used
    amounts bigint[] NOT NULL DEFAULT '{}',  -- what was used in each
    PRIMARY KEY (kind, id, scope, unit)
) WITH (fillfactor = 60);

-- What one process may still use of a rate without asking; of calls under way, what it has under way too.
CREATE TABLE rate_holds (
    kind text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    unit text NOT NULL,
    holder text NOT NULL,
    amount bigint NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (kind, id, scope, unit, holder)
) WITH (fillfactor = 60);

CREATE INDEX daily_spend_value ON daily_spend (dimension, value, day);

-- For reports: rows of one session, and how many groups the planner may expect of a million rows by day, key and model.
-- (Rows from before may have a name that is too long for an index; new ones have not, see ledger/rows.py.)
CREATE INDEX spend_logs_session ON spend_logs ((metadata ->> 'session_id'))
    WHERE metadata ? 'session_id' AND length(metadata ->> 'session_id') <= 256;
CREATE STATISTICS spend_logs_days ON ((started AT TIME ZONE 'UTC')::date) FROM spend_logs;
CREATE STATISTICS spend_logs_models (ndistinct) ON model_group, model, provider FROM spend_logs;
CREATE STATISTICS spend_logs_callers (ndistinct) ON key_hash, team, user_id, organization FROM spend_logs;

-- The sum of whole numbers as one: sum() makes a numeric of it, which costs reports a fifth of their time.
CREATE AGGREGATE total(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE);

-- Sums of spend_logs by UTC day and by all that reports break down by; of customers and tags they know only which calls had
-- some. Triggers keep them in step with the rows, whoever inserts or deletes those.
CREATE TABLE daily_calls (
    day date NOT NULL,
    id bytea NOT NULL,  -- SHA-256 of the next ten: together they may be too long for an index
    key_hash text NOT NULL,
    user_id text NOT NULL,
    team text NOT NULL,
    organization text NOT NULL,
    endpoint text NOT NULL,
    model_group text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    customer boolean NOT NULL,  -- whether each of the calls had one
    tags integer NOT NULL,  -- how many each of them had
    spend numeric NOT NULL,
    prompt bigint NOT NULL,
    completion bigint NOT NULL,
    cached bigint NOT NULL,
    cache_write bigint NOT NULL,
    requests bigint NOT NULL,
    successes bigint NOT NULL,
    failures bigint NOT NULL,
    PRIMARY KEY (day, id)
) WITH (fillfactor = 60);

-- `moved` are the rows that a statement has added or removed. Sums are locked in the order of their key, and after those of
-- daily_spend, at which writers of the same sums have met already: so no deadlocks.
CREATE FUNCTION daily_calls_follow() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    sign integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    days date[];
    ids bytea[];
BEGIN
    WITH changed AS (
        INSERT INTO daily_calls AS c
        SELECT
            day,
            sha256(convert_to(
                (key_hash, user_id, team, organization, endpoint, model_group, model, provider, customer, tags)::text, 'UTF8'
            )) AS id,
            key_hash, user_id, team, organization, endpoint, model_group, model, provider, customer, tags,
            sign * spend, sign * prompt, sign * completion, sign * cached, sign * cache_write,
            sign * requests, sign * successes, sign * failures
        FROM (
            SELECT
                (started AT TIME ZONE 'UTC')::date AS day,
                key_hash, user_id, team, organization, endpoint, model_group, model, provider,
                end_user <> '' AS customer, cardinality(tags) AS tags,
                coalesce(sum(cost), 0) AS spend, total(prompt) AS prompt, total(completion) AS completion,
                total(cached) AS cached, total(cache_write) AS cache_write, count(*) AS requests,
                count(*) FILTER (WHERE status = 'success') AS successes,
                count(*) FILTER (WHERE status IN ('failure', 'lost')) AS failures
            FROM moved
            GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ) AS sums
        ORDER BY day, id
        ON CONFLICT (day, id) DO UPDATE SET
            spend = c.spend + excluded.spend,
            prompt = c.prompt + excluded.prompt,
            completion = c.completion + excluded.completion,
            cached = c.cached + excluded.cached,
            cache_write = c.cache_write + excluded.cache_write,
            requests = c.requests + excluded.requests,
            successes = c.successes + excluded.successes,
            failures = c.failures + excluded.failures
        RETURNING day, id, requests
    )
    SELECT array_agg(day), array_agg(id) INTO days, ids FROM changed WHERE requests = 0;
    IF days IS NOT NULL THEN
        DELETE FROM daily_calls AS c USING unnest(days, ids) AS empty (day, id) WHERE c.day = empty.day AND c.id = empty.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER daily_calls_add AFTER INSERT ON spend_logs REFERENCING NEW TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION daily_calls_follow();
CREATE TRIGGER daily_calls_remove AFTER DELETE ON spend_logs REFERENCING OLD TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION daily_calls_follow();
INSERT INTO daily_calls
SELECT
    day,
    sha256(convert_to(
        (key_hash, user_id, team, organization, endpoint, model_group, model, provider, customer, tags)::text, 'UTF8'
    )) AS id,
    key_hash, user_id, team, organization, endpoint, model_group, model, provider, customer, tags,
    spend, prompt, completion, cached, cache_write, requests, successes, failures
FROM (
    SELECT
        (started AT TIME ZONE 'UTC')::date AS day,
        key_hash, user_id, team, organization, endpoint, model_group, model, provider,
        end_user <> '' AS customer, cardinality(tags) AS tags,
        coalesce(sum(cost), 0) AS spend, total(prompt) AS prompt, total(completion) AS completion,
        total(cached) AS cached, total(cache_write) AS cache_write, count(*) AS requests,
        count(*) FILTER (WHERE status = 'success') AS successes,
        count(*) FILTER (WHERE status IN ('failure', 'lost')) AS failures
    FROM spend_logs
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
) AS sums
ORDER BY day, id;

-- Leases that were to last until before this moment count no more: what was reserved from them is recorded. Every
-- accounting process must have come that far, but those that fell silent a minute before the last word of any: within 20 s
-- one that cannot say how far it is gives its events back (workers/accounting/upkeep.py), and 30 s after its last sign of
-- life RabbitMQ has taken them from it (three heartbeats). So while all are away nothing lapses.
CREATE FUNCTION leases_lapse() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT least(clock_timestamp(), coalesce(min(at), '-infinity')) FROM recorded
    WHERE said >= (SELECT max(said) FROM recorded) - interval '60 seconds'
$$;

-- A session keeps the plans of these functions: one made while a table was almost empty would read all of it for ever
-- (or until it is analyzed). So they use indexes from the beginning.
--
-- The functions below lock balances in the order of (kind, id, scope, period, began), and rates after them. What they
-- read after a lock is as it is then: in PL/pgSQL each statement sees what was committed before it.

-- The scope of what a team's member spends on a model group; NULL if there is no member. See schemas/access.py.
CREATE FUNCTION member_model(member text, of_group text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT length(nullif(member, ''))::text || ':' || member || ':' || of_group
$$;

CREATE FUNCTION member_of(member_model text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(member_model, strpos(member_model, ':') + 1, split_part(member_model, ':', 1)::integer)
$$;

-- What an account has spent since a moment: whole UTC days from the daily sums, the broken first day from the rows.
CREATE FUNCTION spent_since(of_kind text, of_id text, of_scope text, since timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE AS $$
DECLARE
    next_day date := ((since AT TIME ZONE 'UTC') + interval '1 day' - interval '1 microsecond')::date;
    midnight timestamptz := next_day::timestamp AT TIME ZONE 'UTC';
    dimension_of text := CASE of_kind WHEN 'proxy' THEN 'all' ELSE replace(of_kind, '_model', '') END;
    member text := CASE of_kind WHEN 'member_model' THEN member_of(of_scope) ELSE of_scope END;
    of_model text := CASE WHEN of_kind = 'member_model' THEN substr(of_scope, length(member_model(member, '')) + 1)
        WHEN of_kind LIKE '%\_model' THEN of_scope ELSE '*' END;  -- or a pattern
    fits text := replace(replace(replace(replace(of_model, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%');
    days numeric;
    hours numeric;
BEGIN
    IF of_kind IN ('member', 'organization_member', 'member_model') THEN
        RETURN coalesce((
            SELECT sum(cost) FROM spend_logs
            WHERE started >= since AND user_id = member AND model_group LIKE fits
              AND CASE of_kind WHEN 'organization_member' THEN organization ELSE team END = of_id
        ), 0);
    END IF;
    SELECT sum(d.spend) INTO days FROM daily_spend AS d
    WHERE d.dimension = dimension_of AND d.value = CASE of_kind WHEN 'proxy' THEN '' ELSE of_id END AND d.day >= next_day
      AND d.model_group LIKE fits;
    IF since < midnight THEN
        SELECT sum(l.cost) INTO hours FROM spend_logs AS l
        WHERE l.started >= since AND l.started < midnight
          AND l.model_group LIKE fits
          AND CASE dimension_of
              WHEN 'key' THEN l.key_hash = of_id
              WHEN 'team' THEN l.team = of_id
              WHEN 'user' THEN l.user_id = of_id
              WHEN 'organization' THEN l.organization = of_id
              WHEN 'customer' THEN l.end_user = of_id
              WHEN 'tag' THEN of_id = ANY (l.tags)
              ELSE true END;
    END IF;
    RETURN coalesce(days, 0) + coalesce(hours, 0);
END $$;

-- The locked row of a budget's window, which begins with what was spent in it before anybody leased from it: the account
-- may have paid calls that this budget was not asked for (a user those of his teams' keys), or had none for a while.
CREATE FUNCTION balance_of(
    of_kind text, of_id text, of_scope text, of_period text, from_time timestamptz, to_time timestamptz
) RETURNS balances LANGUAGE plpgsql AS $$
DECLARE
    found_row balances;
    start numeric := 0;
BEGIN
    LOOP
        SELECT * INTO found_row FROM balances
        WHERE kind = of_kind AND id = of_id AND scope = of_scope AND period = of_period AND began = from_time
        FOR UPDATE;
        IF FOUND THEN
            RETURN found_row;
        END IF;
        IF of_period = '' AND of_kind NOT LIKE '%\_model' THEN
            SELECT spend INTO start FROM totals WHERE kind = of_kind AND id = of_id AND scope = of_scope;
        ELSE
            start := spent_since(of_kind, of_id, of_scope, from_time);
        END IF;
        INSERT INTO balances (kind, id, scope, period, began, ends, spent)
        VALUES (of_kind, of_id, of_scope, of_period, from_time, to_time, coalesce(start, 0))
        ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- Give back and lease parts of budgets for one process. `asked` are {n, kind, id, scope, period, began, ends, most, soft,
-- need, want, back, life, era, serial, sure}: amounts in nano-dollars, `most` and `soft` in dollars, times in seconds.
-- Grants nothing if less than `need` is left; else `want`, but no more than half of what is left unless that is less than
-- `need`. Questions of an era are numbered (`serial`); `sure` is the last one whose answer arrived. `back` are [serial,
-- amount] of it and of later ones: what happened already is not done again, and a grant that did not arrive is undone.
-- Answers {n, lease, granted, left, spendable}: `left` what could be leased, `spendable` what is not spent.
CREATE FUNCTION lease_budgets(asked jsonb, for_holder text) RETURNS jsonb LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    item record;
    row_of balances;
    mine leases;
    late boolean;
    back_of bigint;
    spendable bigint;
    left_over bigint;
    grant_of bigint;
    lease_of bigint;
    paid_of bigint;
    lapsed timestamptz := leases_lapse();
    answers jsonb := '[]';
BEGIN
    -- A balance begins with what is recorded: until it is there, nobody may record what it does not know of. `settle`
    -- locks these rows, too, before it looks for balances.
    INSERT INTO totals AS t (kind, id, scope, spend)
    SELECT DISTINCT
        replace(kind, '_model', ''), id,
        CASE WHEN kind = 'member_model' THEN member_of(scope) WHEN kind LIKE '%\_model' THEN '' ELSE scope END, 0
    FROM jsonb_to_recordset(asked) AS a (kind text, id text, scope text, period text, began double precision)
    WHERE NOT EXISTS (
        SELECT FROM balances AS b
        WHERE b.kind = a.kind AND b.id = a.id AND b.scope = a.scope AND b.period = a.period
          AND b.began = coalesce(to_timestamp(a.began), '-infinity')
    )
    ORDER BY 1, 2, 3
    ON CONFLICT (kind, id, scope) DO UPDATE SET spend = t.spend;
    FOR item IN
        SELECT * FROM jsonb_to_recordset(asked) AS a (
            n integer, kind text, id text, scope text, period text, began double precision, ends double precision,
            most numeric, soft numeric, need bigint, want bigint, back jsonb, life double precision,
            era bigint, serial bigint, sure bigint, paid bigint
        ) ORDER BY kind, id, scope, period, began, era
    LOOP
        row_of := balance_of(
            item.kind, item.id, item.scope, item.period,
            coalesce(to_timestamp(item.began), '-infinity'), coalesce(to_timestamp(item.ends), 'infinity')
        );
        IF row_of.soft IS DISTINCT FROM item.soft THEN
            UPDATE balances SET soft = item.soft, alerted = false WHERE balance = row_of.balance;
        END IF;
        DELETE FROM leases WHERE balance = row_of.balance AND until < lapsed;
        SELECT * INTO mine FROM leases WHERE balance = row_of.balance AND holder = for_holder AND era = item.era;
        paid_of := least(coalesce(item.paid, 0), mine.beyond) - mine.paid;  -- a sum: no matter how often it is told
        IF paid_of > 0 THEN
            UPDATE leases SET outstanding = greatest(0, outstanding - paid_of), paid = paid + paid_of
            WHERE lease = mine.lease RETURNING * INTO mine;
        END IF;
        late := mine.asked >= item.serial;  -- NULL without a lease: there is nothing to give back then
        back_of := CASE WHEN mine.asked > item.sure THEN mine.granted ELSE 0 END + coalesce((
            SELECT sum((b ->> 1)::bigint) FROM jsonb_array_elements(item.back) AS b WHERE (b ->> 0)::bigint > mine.asked
        ), 0);
        IF NOT late AND back_of > 0 THEN
            UPDATE leases SET outstanding = greatest(0, outstanding - back_of), asked = item.serial, granted = 0
            WHERE lease = mine.lease;
        END IF;
        spendable := least((coalesce(item.most, 1000000000) - row_of.spent) * 1000000000, 9000000000000000000);
        SELECT spendable - coalesce(sum(outstanding), 0) INTO left_over FROM leases WHERE balance = row_of.balance;
        grant_of := CASE WHEN item.need > 0 AND item.need <= left_over AND late IS NOT TRUE
            THEN least(item.want, greatest(item.need, left_over / 2)) ELSE 0 END;
        lease_of := NULL;
        IF grant_of > 0 THEN
            INSERT INTO leases AS l (balance, holder, era, outstanding, asked, granted, until)
            VALUES (
                row_of.balance, for_holder, item.era, grant_of, item.serial, grant_of,
                clock_timestamp() + item.life * interval '1 second'
            )
            ON CONFLICT (balance, holder, era) DO UPDATE SET
                outstanding = l.outstanding + excluded.outstanding, asked = excluded.asked, granted = excluded.granted,
                until = greatest(l.until, excluded.until)
            RETURNING lease INTO lease_of;
        ELSIF item.need > 0 THEN  -- it goes on with what it has, for calls that may take longer than those before
            UPDATE leases SET until = greatest(until, clock_timestamp() + item.life * interval '1 second')
            WHERE lease = mine.lease;
        END IF;
        answers := answers || jsonb_build_object(
            'n', item.n, 'lease', lease_of, 'granted', grant_of, 'left', left_over, 'spendable', spendable,
            'beyond', coalesce(mine.beyond, 0),
            'paid', coalesce(mine.paid, CASE WHEN lease_of IS NULL THEN item.paid END, 0)  -- of a lease that is over: all
        );
    END LOOP;
    RETURN answers;
END $$;

-- Report uses of rates and get room for more, for one process. `asked` are {n, kind, id, scope, unit, window, most, need,
-- want, unused, ages, amounts, life}: `unused` is what the process still has in hand, `ages` how many seconds ago it used
-- `amounts`. Answers {n, granted, left, retry}: `retry` seconds until `need` may have room, when nothing was granted.
CREATE FUNCTION lease_rates(asked jsonb, for_holder text) RETURNS jsonb LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    item record;
    row_of rates;
    clock double precision;
    bucket integer;
    others bigint;
    used bigint;
    left_over bigint;
    grant_of bigint;
    retry_in double precision;
    answers jsonb := '[]';
BEGIN
    FOR item IN
        SELECT * FROM jsonb_to_recordset(asked) AS a (
            n integer, kind text, id text, scope text, unit text, "window" integer, most bigint, need bigint, want bigint,
            unused bigint, ages double precision[], amounts bigint[], life double precision
        ) ORDER BY kind, id, scope, unit
    LOOP
        LOOP
            SELECT * INTO row_of FROM rates AS r
            WHERE r.kind = item.kind AND r.id = item.id AND r.scope = item.scope AND r.unit = item.unit FOR UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO rates (kind, id, scope, unit) VALUES (item.kind, item.id, item.scope, item.unit)
            ON CONFLICT DO NOTHING;
        END LOOP;
        clock := extract(epoch FROM clock_timestamp());
        bucket := greatest(1, item."window" / 60);
        -- what a process that is gone had in hand was used when its time ended, for all that anybody knows
        WITH gone AS (
            DELETE FROM rate_holds AS h
            WHERE h.kind = item.kind AND h.id = item.id AND h.scope = item.scope AND h.unit = item.unit
              AND h.until < clock_timestamp() AND h.holder <> for_holder
            RETURNING ceil(extract(epoch FROM h.until))::bigint AS at, h.amount
        )
        SELECT coalesce(array_agg(b.at ORDER BY b.at), '{}'), coalesce(array_agg(b.amount ORDER BY b.at), '{}'),
            coalesce(sum(b.amount), 0)
        INTO row_of.ats, row_of.amounts, used
        FROM (
            SELECT (ceil(every.at / bucket) * bucket)::bigint AS at, sum(every.amount)::bigint AS amount
            FROM (
                SELECT * FROM unnest(row_of.ats, row_of.amounts) AS old (at, amount)
                UNION ALL
                SELECT clock - new.age, new.amount FROM unnest(item.ages, item.amounts) AS new (age, amount)
                UNION ALL
                SELECT * FROM gone
            ) AS every (at, amount)
            WHERE every.at > clock - item."window"
            GROUP BY 1
            HAVING sum(every.amount) <> 0
        ) AS b;
        SELECT coalesce(sum(h.amount), 0) INTO others FROM rate_holds AS h
        WHERE h.kind = item.kind AND h.id = item.id AND h.scope = item.scope AND h.unit = item.unit
          AND h.holder <> for_holder;
        left_over := item.most - used - others - item.unused;
        grant_of := CASE WHEN item.need > 0 AND item.need <= left_over
            THEN least(item.want, greatest(item.need, left_over / 2)) ELSE 0 END;
        retry_in := NULL;
        IF item.need > left_over THEN
            SELECT min(b.at) + item."window" - clock INTO retry_in
            FROM (
                SELECT u.at, sum(u.amount) OVER (ORDER BY u.at) AS freed FROM unnest(row_of.ats, row_of.amounts) AS u (at, amount)
            ) AS b
            WHERE b.freed >= item.need - left_over;
            IF item.need <= left_over + others THEN  -- others may give back what they do not use
                retry_in := least(retry_in, 0.5);
            END IF;
        END IF;
        UPDATE rates AS r SET ats = row_of.ats, amounts = row_of.amounts
        WHERE r.kind = item.kind AND r.id = item.id AND r.scope = item.scope AND r.unit = item.unit;
        IF item.unused + grant_of > 0 THEN
            INSERT INTO rate_holds AS h (kind, id, scope, unit, holder, amount, until)
            VALUES (
                item.kind, item.id, item.scope, item.unit, for_holder, item.unused + grant_of,
                clock_timestamp() + item.life * interval '1 second'
            )
            ON CONFLICT (kind, id, scope, unit, holder) DO UPDATE SET amount = excluded.amount, until = excluded.until;
        ELSE
            DELETE FROM rate_holds AS h
            WHERE h.kind = item.kind AND h.id = item.id AND h.scope = item.scope AND h.unit = item.unit
              AND h.holder = for_holder;
        END IF;
        answers := answers || jsonb_build_object('n', item.n, 'granted', grant_of, 'left', left_over, 'retry', retry_in);
    END LOOP;
    RETURN answers;
END $$;

-- Move what payers have spent by what calls cost, and give back what was reserved for them. `events` are {started,
-- key_hash, team, user_id, organization, end_user, tags, model_group, cost, leases, reserved, attempt, request,
-- reservation}: `started` in microseconds, `cost` negative for a row that was taken back, `reserved` nano-dollars of each of
-- the leases. Their rows are there already. A call counts in the window that it was reserved from, else in the one that it
-- began in. Answers the budgets whose soft limit was passed.
CREATE FUNCTION settle(events jsonb) RETURNS jsonb LANGUAGE plpgsql STRICT
SET enable_seqscan = off AS $$
DECLARE
    calls integer[];  -- one for each payer of a call, with the next five
    began_at timestamptz[];
    costs numeric[];
    kinds text[];
    ids text[];
    scopes text[];
    leased_calls integer[];  -- one for each lease of a call, with the next three
    leased_costs numeric[];
    leased_by bigint[];
    leased_from bigint[];
    moved_balances bigint[];
    moved_by numeric[];
    reserved_calls integer[];  -- one for each call with a reservation, with the next three
    attempts text[];
    requests text[];
    reservations integer[];
    second_calls integer[];  -- whose reservation another call has given back
    alerts jsonb;
BEGIN
    WITH e AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(events) AS g (
            n integer, started bigint, key_hash text, team text, user_id text, organization text, end_user text,
            tags text[], model_group text, cost numeric, leases bigint[], reserved bigint,
            attempt text, request text, reservation integer
        )
    ),
    payers AS (
        SELECT e.n, timestamptz 'epoch' + e.started * interval '1 microsecond' AS started, e.cost,
            who.kind, who.id, who.scope
        FROM e CROSS JOIN LATERAL (
            VALUES ('key', e.key_hash, ''), ('team', e.team, ''), ('user', e.user_id, ''),
                ('organization', e.organization, ''), ('customer', e.end_user, ''),
                ('member', e.team, nullif(e.user_id, '')), ('organization_member', e.organization, nullif(e.user_id, '')),
                ('key_model', e.key_hash, e.model_group), ('team_model', e.team, e.model_group),
                ('user_model', e.user_id, e.model_group), ('customer_model', e.end_user, e.model_group),
                ('member_model', e.team, member_model(e.user_id, e.model_group)), ('proxy', '', '')
            UNION ALL SELECT 'tag', unnest(e.tags), ''
        ) AS who (kind, id, scope)
        WHERE (who.id <> '' OR who.kind = 'proxy') AND who.scope IS NOT NULL
    ),
    all_payers AS (
        SELECT array_agg(n) AS n, array_agg(started) AS started, array_agg(cost) AS cost,
            array_agg(kind) AS kind, array_agg(id) AS id, array_agg(scope) AS scope
        FROM payers
    ),
    all_leases AS (
        SELECT array_agg(n) AS n, array_agg(cost) AS cost, array_agg(reserved) AS reserved, array_agg(lease) AS lease
        FROM (SELECT n, cost, reserved, unnest(leases) AS lease FROM e) AS each
    ),
    all_reservations AS (
        SELECT array_agg(n) AS n, array_agg(attempt) AS attempt, array_agg(request) AS request,
            array_agg(reservation) AS reservation
        FROM e WHERE reservation IS NOT NULL
    )
    SELECT p.n, p.started, p.cost, p.kind, p.id, p.scope, l.n, l.cost, l.reserved, l.lease,
        r.n, r.attempt, r.request, r.reservation
    INTO calls, began_at, costs, kinds, ids, scopes, leased_calls, leased_costs, leased_by, leased_from,
        reserved_calls, attempts, requests, reservations
    FROM all_payers AS p, all_leases AS l, all_reservations AS r;

    INSERT INTO totals AS t (kind, id, scope, spend)
    SELECT kind, id, scope, sum(cost)
    FROM unnest(kinds, ids, scopes, costs) AS p (kind, id, scope, cost)
    WHERE kind NOT LIKE '%\_model'
    GROUP BY 1, 2, 3
    HAVING sum(cost) <> 0
    ORDER BY 1, 2, 3
    ON CONFLICT (kind, id, scope) DO UPDATE SET spend = t.spend + excluded.spend;

    -- A statement of its own: it must see the balances whose first lease waited for, or was waited for with, the totals.
    -- What a call was reserved from comes first; a rank, because NOT EXISTS compared each with each.
    SELECT array_agg(balance), array_agg(amount) INTO moved_balances, moved_by
    FROM (
        SELECT balance, sum(cost) AS amount
        FROM (
            SELECT balance, cost, rank() OVER (PARTITION BY n, kind, id, scope, period ORDER BY choice) AS choice
            FROM (
                SELECT x.n, x.cost, 1 AS choice, b.balance, b.kind, b.id, b.scope, b.period
                FROM unnest(leased_calls, leased_costs, leased_from) AS x (n, cost, lease)
                JOIN leases AS l USING (lease) JOIN balances AS b USING (balance)
                UNION ALL
                SELECT p.n, p.cost, 2, b.balance, b.kind, b.id, b.scope, b.period
                FROM unnest(calls, began_at, costs, kinds, ids, scopes) AS p (n, started, cost, kind, id, scope)
                JOIN balances AS b
                    ON b.kind = p.kind AND b.id = p.id AND b.scope = p.scope
                    AND b.began <= p.started AND p.started < b.ends
            ) AS every
        ) AS ranked
        WHERE choice = 1
        GROUP BY balance
    ) AS moved;
    IF moved_balances IS NULL THEN
        RETURN NULL;
    END IF;

    PERFORM FROM balances WHERE balance = ANY (moved_balances) ORDER BY kind, id, scope, period, began FOR UPDATE;
    UPDATE balances AS b SET spent = b.spent + m.amount
    FROM unnest(moved_balances, moved_by) AS m (balance, amount)
    WHERE b.balance = m.balance AND m.amount <> 0;
    -- A reservation is given back once, whichever of its attempts is recorded first: the other has waited for the same
    -- balances, and sees the row. Of two in one batch the first attempt by name gives it back.
    SELECT coalesce(array_agg(c.n), '{}') INTO second_calls
    FROM unnest(reserved_calls, attempts, requests, reservations) AS c (n, attempt, request, reservation)
    WHERE EXISTS (
        SELECT FROM spend_logs AS o
        WHERE o.request = c.request AND o.reservation = c.reservation AND o.attempt <> c.attempt
          AND (o.attempt < c.attempt OR o.attempt <> ALL (attempts))
    );
    UPDATE leases AS l SET outstanding = greatest(0, l.outstanding - f.amount), beyond = l.beyond + f.beyond
    FROM (
        SELECT lease, sum(given_back)::bigint AS amount,
            sum(greatest(0, least(ceil(cost * 1000000000), 1000000000000000)::bigint - given_back))::bigint AS beyond
        FROM (
            SELECT lease, cost, CASE WHEN n <> ALL (second_calls) THEN reserved ELSE 0 END AS given_back
            FROM unnest(leased_calls, leased_costs, leased_by, leased_from) AS x (n, cost, reserved, lease)
        ) AS each
        GROUP BY lease
    ) AS f
    WHERE l.lease = f.lease;
    WITH passed AS (
        UPDATE balances SET alerted = true
        WHERE balance = ANY (moved_balances) AND NOT alerted AND spent >= soft
        RETURNING kind, id, scope, period, spent, soft
    )
    SELECT jsonb_agg(passed) INTO alerts FROM passed;
    RETURN alerts;
END $$;
