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
    created_at timestamptz NOT NULL DEFAULT now(),
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

-- What one process holds of a balance: calls it has reserved for, and what it may still reserve.
CREATE TABLE leases (
    lease bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    balance bigint NOT NULL REFERENCES balances ON DELETE CASCADE,
    holder text NOT NULL,
    outstanding numeric NOT NULL,
    until timestamptz NOT NULL,  -- then every call that was reserved from it has ended and is recorded
    UNIQUE (balance, holder)
) WITH (fillfactor = 60);

-- Limits per window of time (rpm, tpm, tpd) and of calls under way (parallel).
CREATE TABLE rates (
    kind text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    unit text NOT NULL,
    used bigint[] NOT NULL DEFAULT '{}',  -- pairs: second of the use (a bucket's end), amount
    holds jsonb NOT NULL DEFAULT '{}',  -- holder -> [amount not used yet, until when]
    PRIMARY KEY (kind, id, scope, unit)
) WITH (fillfactor = 60);

CREATE INDEX daily_spend_value ON daily_spend (dimension, value, day);
