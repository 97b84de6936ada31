-- Calls that came with an `Idempotency-Key`: who runs them, and what they were answered. See ledger/idempotency.py.
CREATE TABLE idempotent_calls (
    key text PRIMARY KEY,  -- SHA-256 of the caller's key, the endpoint and the Idempotency-Key
    body text NOT NULL,  -- SHA-256 of what was asked
    owner text NOT NULL,  -- the API process that runs it, and which of its claims this is
    leased_until timestamptz NOT NULL,  -- the owner renews it; in the past: nobody runs it
    state text NOT NULL CHECK (state IN ('running', 'done')),
    answer bytea CHECK ((state = 'done') = (answer IS NOT NULL)),  -- sealed
    expires timestamptz NOT NULL
);
ALTER TABLE idempotent_calls ALTER COLUMN answer SET STORAGE EXTERNAL;  -- what is sealed does not become smaller
CREATE INDEX idempotent_calls_expires ON idempotent_calls (expires);
