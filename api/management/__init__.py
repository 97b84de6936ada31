"""LiteLLM's management API: whoever may call and pay, what they are limited by, and who may change that.

One package or module for each kind of thing: keys, teams, users, organizations, models, spend, budgets, customers, tags
and the audit log. `keys` knows none of the others; `teams` stands on it, `users` and `organizations` on `teams`. What
several need is beside them: `office` is what every route works with, `rights` says who may call which.
"""
