# Every target does its own set-up: Python 3.11+ with pip, and make, are all a machine needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST ?= $(BIN)/python -m pytest
# Processes that share the tests: 0 for one after the other, auto for what the machine has room for.
WORKERS ?= auto
CLIENTS := $(VENV)/s3-clients
FRAMEWORKS := $(VENV)/frameworks
# Installed by its version alone: which file that is, a CPU build or one for CUDA, differs from
# index to index, so that no hash would hold. What it needs is in the lock, hashed like all else.
TORCH ?= torch==2.13.0
# The tests start hundreds of agents: without the compiled files each would compile all of CNET.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup s3-clients frameworks demo test test-fast check fmt lint types layers bench web web-check screenshots clean help

help:  ## what there is to make
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

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

# Not by way of $(BIN)/python: it may be made beside `setup`, by another make. Nothing is compiled
# ahead: most of it is never imported.
$(CLIENTS)/.ready: requirements/s3-clients.lock
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --no-deps \
		--require-hashes -r requirements/s3-clients.lock
	@touch $@

setup: $(VENV)/.dev  ## create .venv with everything a developer needs

s3-clients: $(CLIENTS)/.ready  ## stock S3 clients: CNET_TEST_S3_CLIENTS=.venv/s3-clients make test runs them

# Not by way of $(BIN)/python either. What it does not have it finds in the developers' environment.
$(FRAMEWORKS)/.ready: requirements/frameworks.lock
	$(PYTHON) -m venv --clear $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --no-deps \
		--require-hashes -r requirements/frameworks.lock
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --no-deps $(TORCH)
	$(FRAMEWORKS)/bin/python -c 'import pathlib, sysconfig; \
		here = pathlib.Path(sysconfig.get_path("purelib")); \
		there = pathlib.Path("$(abspath $(VENV))") / here.relative_to("$(abspath $(FRAMEWORKS))"); \
		(here / "developers.pth").write_text(f"import site; site.addsitedir({str(there)!r})\n")'
	@touch $@

frameworks: $(FRAMEWORKS)/.ready  ## PyTorch, TensorFlow: CNET_TEST_FRAMEWORKS=.venv/frameworks make test serves their models

demo: $(VENV)/.runtime  ## four agents, two inference services, real predictions (KEEP=1 leaves them up)
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

test: setup  ## every test (WORKERS=0: one after the other)
	$(PYTEST) -n $(WORKERS)

test-fast: setup  ## the tests that need no process, socket or minute
	$(PYTEST) tests/unit

check: lint types layers web-check test  ## what CI runs

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

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

web: web/node_modules/.ready  ## style sheet, scripts and icons of the web page, into src/cnet/web/static
	cd web && node build.mjs

web-check: web/node_modules/.ready
	cd web && node build.mjs --check

screenshots: setup  ## pictures of the web page, into docs/images
	$(BIN)/python -m tools.screenshots

clean:
	rm -rf $(VENV) web/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output
