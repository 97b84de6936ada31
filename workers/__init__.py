"""Who does it: provider pools and the accounting consumer. May import `schemas`, `broker`, `ledger`."""
