-- One row per upstream attempt. The key holds `started`, so that the table can become partitioned by time.
CREATE TABLE spend_logs (
    attempt text NOT NULL,
    started timestamptz NOT NULL,
    ended timestamptz NOT NULL,
    first_byte timestamptz,
    request text NOT NULL,
    status text NOT NULL,
    http_status integer NOT NULL,
    failure text NOT NULL,
    endpoint text NOT NULL,
    stream boolean NOT NULL,
    model_group text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    deployment text NOT NULL,
    worker text NOT NULL,
    key_hash text NOT NULL,
    key_alias text NOT NULL,
    user_id text NOT NULL,
    team text NOT NULL,
    organization text NOT NULL,
    end_user text NOT NULL,
    tags text[] NOT NULL,
    prompt bigint NOT NULL,
    completion bigint NOT NULL,
    cached bigint NOT NULL,
    cache_write bigint NOT NULL,
    reasoning bigint NOT NULL,
    audio_in bigint NOT NULL,
    audio_out bigint NOT NULL,
    estimated boolean NOT NULL,
    lost boolean NOT NULL,
    cost numeric,  -- US dollars; NULL is an unknown price
    metadata jsonb NOT NULL,
    stored timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (attempt, started)
);
CREATE INDEX spend_logs_started ON spend_logs (started);
CREATE INDEX spend_logs_key ON spend_logs (key_hash, started);
CREATE INDEX spend_logs_request ON spend_logs (request);
CREATE INDEX spend_logs_lost ON spend_logs (attempt) WHERE lost;

-- Sums of spend_logs by UTC day of `started`, written in the same statement. See ledger/spend.py.
CREATE TABLE daily_spend (
    day date NOT NULL,
    dimension text NOT NULL,
    value text NOT NULL,
    model_group text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    spend numeric NOT NULL,
    prompt bigint NOT NULL,
    completion bigint NOT NULL,
    cached bigint NOT NULL,
    cache_write bigint NOT NULL,
    requests bigint NOT NULL,
    successes bigint NOT NULL,
    failures bigint NOT NULL,
    unpriced bigint NOT NULL,
    PRIMARY KEY (day, dimension, value, model_group, model, provider)
) WITH (fillfactor = 60);  -- room for updates in place: these rows are written again and again

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    queue text NOT NULL,
    reason text NOT NULL,
    message_id text NOT NULL,
    correlation_id text NOT NULL,
    body text  -- a usage event's; a request's is never kept
);
CREATE INDEX dead_letters_at ON dead_letters (at);
