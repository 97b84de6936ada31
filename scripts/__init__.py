"""What make calls before there is an environment: standard library only."""
