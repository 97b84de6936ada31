"""LiteLLM's management API: whoever may call and pay, what they are limited by, and who may change that."""
