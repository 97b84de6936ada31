"""What is said: wire types, envelopes, configuration, usage, money, failures. Imports nothing of ours."""
