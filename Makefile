# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
# The project's own environment only: nothing of the caller's Python leaks in.
unexport PYTHONPATH VIRTUAL_ENV DJANGO_SETTINGS_MODULE
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test check run worker soak bench lock openapi

help:  ## what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Plangate needs Python 3.11 or newer." if sys.version_info < (3, 11) else 0)'
	@echo "==> creating the virtual environment"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: %.lock | $(BIN)/python
	@echo "==> installing the locked packages of $<"
	@$(BIN)/python -m pip install --quiet --progress-bar on --require-hashes -r $<
	@touch $@

demo: $(VENV)/.installed-requirements-demo  ## a running product with a realistic realm
	@exec $(BIN)/python manage.py demo --port $(PORT)

run: $(VENV)/.installed-requirements-demo  ## the web server in the foreground (PORT=8000)
	@$(BIN)/python manage.py database start
	@$(BIN)/python manage.py migrate --verbosity 0
	@exec $(BIN)/python manage.py serve --port $(PORT)

worker: $(VENV)/.installed-requirements-demo  ## the job worker in the foreground
	@$(BIN)/python manage.py database start
	@exec $(BIN)/python manage.py worker

check: $(VENV)/.installed-requirements-dev  ## lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports

test: check  ## everything CI runs
	@$(BIN)/python -m tests.tools.browser
	@$(BIN)/python -m pytest -n 2

soak: $(VENV)/.installed-requirements-dev  ## the long runs; writes docs/verification.md
	@$(BIN)/python -m tests.tools.browser
	@PLANGATE_SOAK=1 $(BIN)/python -m pytest -m soak -s -p no:randomly -n 0

bench: $(VENV)/.installed-requirements-demo  ## measures the gate (N=accounts SECONDS=each ONLY="rows")
	@exec $(BIN)/python -m bench $(if $(N),--accounts $(N)) \
	  $(if $(RATINGS),--ratings $(RATINGS)) $(if $(CALLED),--called $(CALLED)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(CONNECTIONS),--connections $(CONNECTIONS)) $(if $(ONLY),--only "$(ONLY)")

openapi: $(VENV)/.installed-requirements-dev  ## writes docs/openapi.yaml
	@$(BIN)/python manage.py spectacular --file docs/openapi.yaml --validate

lock: $(VENV)/.installed-requirements-dev  ## compiles the lock files: names, versions, hashes
	@for extra in "" demo dev; do \
	  $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate $${extra:+--extra $$extra} pyproject.toml \
	    -o requirements$${extra:+-$$extra}.lock; \
	done
