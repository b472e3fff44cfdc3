# Every target sets up what it needs; the first run on a machine downloads, later ones do not.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup quickstart test chaos fuzz check format bench protos lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Headrace needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP)  ## make the virtual environment from the pinned requirements

quickstart: $(STAMP)  ## broker, node, continuous training and two clients, live
	$(BIN)/headrace quickstart $(ARGS)

test: $(STAMP)  ## the whole suite, on a real Kafka broker and real models
	$(BIN)/pytest $(ARGS)

chaos: $(STAMP)  ## kill and freeze everything at random for minutes, and miss no answer
	$(BIN)/python -m tests.chaos.run $(ARGS)

fuzz: $(STAMP)  ## hostile requests to every decoder, a worker and a node, for many minutes
	HEADRACE_FUZZ_EXAMPLES=2000 $(BIN)/pytest --timeout=3600 tests/fuzz $(ARGS)

check: $(STAMP)  ## what CI demands besides the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	scripts/protos --check
	scripts/lock --check

format: $(STAMP)  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## measure the figures of docs/performance.md anew
	$(BIN)/python -m benchmarks $(ARGS)

protos: $(STAMP)  ## regenerate the message classes from protos/
	scripts/protos

lock: $(STAMP)  ## resolve requirements/*.txt anew from pyproject.toml
	scripts/lock

clean:  ## remove the virtual environment and tool caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
