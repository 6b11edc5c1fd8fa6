# Every target does its own set-up: Python 3.11+ with pip, and make, are all a machine needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST ?= $(BIN)/python -m pytest
# The tests start hundreds of agents: without the compiled files each would compile all of CNET.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-fast check fmt lint types layers bench clean help

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("CNET needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/runtime.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

setup: $(VENV)/.dev  ## create .venv with everything a developer needs

demo: $(VENV)/.runtime  ## four agents, two inference services, real predictions (KEEP=1 leaves them up)
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

test: setup  ## every test
	$(PYTEST)

test-fast: setup  ## the tests that need no process, socket or minute
	$(PYTEST) tests/unit

check: lint types layers test  ## what CI runs

fmt: setup  ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy
	$(BIN)/mypy tools benchmarks

layers: setup
	$(BIN)/lint-imports

bench: setup  ## the figures of docs/benchmarks.md
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output
