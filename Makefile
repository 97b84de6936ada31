# Everything that is done with this repository; `make` alone lists it.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # or every start of a process compiles all that it imports
.PHONY: help setup run test lint check chaos bench bench-overload bench-keys bench-tenants test-inference lock test-setup

help: ## what can be made
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sed 's/:.* ## /\t/' | expand -t 18

setup: ## the environment: .venv with the penstock command
	@$(PYTHON) scripts/environment.py

run: setup ## penstock serve on 127.0.0.1:4000 (more arguments: make run ARGS="--config litellm.yaml")
	@exec $(BIN)/penstock serve --host 127.0.0.1 --port 4000 $(ARGS)

test: test-setup ## all tests, on a private RabbitMQ and Postgres (or AMQP_URL, DATABASE_URL; ARGS go to pytest)
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m pytest -n 2 $(ARGS)

lint: test-setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint test ## lint and test

chaos: test-setup ## two minutes of random kills and restarts under load (ARGS="--seconds 600 --seed 7")
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m tests.chaos.rampage $(ARGS)

lock: ## renew uv.lock from pyproject.toml
	@$(PYTHON) scripts/environment.py --lock

ifneq ($(wildcard bench/run.py),)
bench: test-setup ## measure against a mock upstream
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m bench.run $(ARGS)

bench-overload: test-setup ## measure at and above a provider's limit, an hour (ARGS="--scenario bursts --seconds 30 --warmup 10")
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m bench.overload $(ARGS)

bench-keys: test-setup ## what a virtual key costs on the request path (ARGS="--rounds 4 --stored 20000")
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m bench.keys $(ARGS)

bench-tenants: test-setup ## measure whether budgets and limits hold over processes, a quarter of an hour (ARGS="--scenario plain")
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m bench.tenants $(ARGS)
endif

ifneq ($(wildcard tests/inference),)
test-inference: test-setup ## end to end against a real inference server (installs 1.2 GB into .test/inference)
	@$(PYTHON) scripts/rabbitmq.py
	@exec $(BIN)/python -m pytest tests/inference $(ARGS)
endif

test-setup:
	@$(PYTHON) scripts/environment.py --group dev --group test
