"""The management API, on a real Postgres."""
