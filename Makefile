# Everything needs only Python 3.11 and make. `make up` runs the service, `make test` proves it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ./data

.DEFAULT_GOAL := help
.PHONY: help setup up demo test lint types unit bench picture clean

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

unit: $(VENV)/.dev
	@$(BIN)/pytest

picture: $(VENV)/.dev ## Take the README's picture of the dashboard from a running demo
	@$(BIN)/python docs/picture.py

bench: $(VENV)/.dev ## Measure throughput and memory on this machine
	@$(BIN)/python -m benchmarks.log
	@$(BIN)/python -m benchmarks.consent
	@$(BIN)/python -m benchmarks.ledger
	@$(BIN)/python -m benchmarks.backbone

clean: ## Remove the environment and caches, never the data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build
