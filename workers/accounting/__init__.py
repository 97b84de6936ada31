"""The accounting consumer: usage events from the bus into the ledger. May import `schemas`, `broker`, `ledger`."""
