"""What a database of LiteLLM's proxy holds, carried over into the ledger: read, made to fit, stored once."""
