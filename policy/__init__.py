"""What is decided: limits, plans, retries, fairness. Pure: no IO, no clock, no tasks. May import `schemas`."""
