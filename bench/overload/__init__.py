"""`make bench-overload`: what happens at and above a provider's limit, with real processes and an open-loop load."""
