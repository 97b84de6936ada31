"""Reads a LiteLLM `config.yaml`, includes, variables and our own section into `schemas.config.Config`."""
