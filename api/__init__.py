"""Who asks: the OpenAI routes and what stands around them. May import `schemas`, `broker`, `ledger`."""
