-- Models that were added while Penstock ran. See ledger/models.py.
CREATE TABLE models (
    model_id text PRIMARY KEY,
    model_name text NOT NULL,
    litellm_params jsonb NOT NULL,  -- what anybody may read of them
    sealed bytea,  -- the rest: a JSON object, sealed with the salt key
    model_info jsonb NOT NULL DEFAULT '{}',
    blocked boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);

-- Providers' credentials that models refer to by name. See ledger/credentials.py.
CREATE TABLE credentials (
    credential_name text PRIMARY KEY,
    credential_values jsonb NOT NULL,  -- what anybody may read of them
    sealed bytea,  -- the rest: a JSON object, sealed with the salt key
    credential_info jsonb NOT NULL DEFAULT '{}',
    display_name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT ''
);
