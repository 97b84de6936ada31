-- What was carried over from LiteLLM, so that it is carried over once. See ledger/litellm/.
CREATE TABLE imported_rows (
    entity text NOT NULL,
    id text NOT NULL,  -- the values of the row's key, a JSON array
    digest text NOT NULL,  -- of the row as it was written: while it has this digest nobody has changed it here
    PRIMARY KEY (entity, id)
);

-- What of totals and balances came from there.
CREATE TABLE imported_spend (
    kind text NOT NULL,
    id text NOT NULL,
    scope text NOT NULL,
    period text NOT NULL,  -- of a balance; 'total' for all that was ever spent
    began timestamptz NOT NULL,
    spend numeric NOT NULL,
    PRIMARY KEY (kind, id, scope, period, began)
);

-- What of the daily sums came from there.
CREATE TABLE imported_days (
    LIKE daily_spend,
    PRIMARY KEY (day, dimension, value, model_group, model, provider)
);
