# Everything needs only Python 3.11 and make. `make up` runs the service, `make test` proves it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ./data

.DEFAULT_GOAL := help
.PHONY: help setup up demo test lint types unit long soak bench picture clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.run: pyproject.toml
	@echo "Making the environment in $(VENV), once; it takes up to a minute."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

setup: $(VENV)/.dev ## Create the environment with everything that developers need

up: $(VENV)/.run ## Run the service on the embedded log in DATA (default ./data)
	@exec $(BIN)/rescind up --data "$(DATA)"

demo: $(VENV)/.run ## Watch real opt-outs travel to four simulated partners, in about a minute
	@exec $(BIN)/rescind demo

test: lint types unit ## Run every check and every test

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy
	@$(BIN)/mypy examples docs

# Two processes even on one processor, since tests mostly wait. Files are taken whole, in their order, the long ones
# first; by default xdist begins with those of many tests.
unit: $(VENV)/.dev
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

picture: $(VENV)/.dev ## Take the README's picture of the dashboard from a running demo
	@$(BIN)/python docs/picture.py

long: $(VENV)/.dev ## Kill the service under load forty times, as CI does after `make test`
	@CAMPAIGN_KILLS=40 $(BIN)/pytest tests/e2e/test_campaign.py -k turns_nobody

soak: $(VENV)/.dev ## Kill the service under load, and workers on a real Kafka, for half an hour, and live through a busy month
	@CAMPAIGN_KILLS=146 $(BIN)/pytest tests/e2e/test_campaign.py -k turns_nobody
	@SOAK_ROUNDS=12 $(BIN)/pytest tests/e2e/test_kafka.py -k killed --timeout 1800
	@MONTH_TOGGLES=60000 $(BIN)/pytest tests/unit/test_month.py --timeout 1800
	@HISTORIES=3000 $(BIN)/pytest tests/unit/test_histories.py --timeout 1800

bench: $(VENV)/.dev ## Measure throughput and memory on this machine
	@$(BIN)/python -m benchmarks.log
	@$(BIN)/python -m benchmarks.consent
	@$(BIN)/python -m benchmarks.ledger
	@$(BIN)/python -m benchmarks.archives
	@$(BIN)/python -m benchmarks.answers
	@$(BIN)/python -m benchmarks.backbone
	@$(BIN)/python -m benchmarks.delivery
	@$(BIN)/python -m benchmarks.isolation
	@$(BIN)/python -m benchmarks.dashboard
	@$(BIN)/python -m benchmarks.gate
	@$(BIN)/python -m benchmarks.disclosures
	@$(BIN)/python -m benchmarks.kafka

clean: ## Remove the environment and caches, never the data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build
