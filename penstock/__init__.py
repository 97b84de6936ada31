"""The command: the only place that builds objects from configuration, and that sees both `api` and `workers`."""
