# What people type. Works with GNU make 3.81 (macOS) and later; needs Python 3.11 or 3.12, and git.

# The first Python of a supported version; override with `make setup PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell for name in python3.12 python3.11 python3 python; do \
	if $$name -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; \
	then echo $$name; break; fi; done)
BIN := .venv/bin
UV := $(shell sed -n 's/^uv==//p' requirements-dev.txt)
UV_COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --no-header --quiet
# Tests that share servers stay in one of the two processes (tests/conftest.py). In the order of the folders: the files
# with the fewest tests have the longest, and would come last.
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder

# uv does not read pip's configuration; what pip is told by the environment holds for both.
ifndef UV_DEFAULT_INDEX
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX = $(PIP_INDEX_URL)
endif
endif
ifndef SSL_CERT_FILE
ifdef PIP_CERT
export SSL_CERT_FILE = $(PIP_CERT)
endif
endif

# The settings of the local Airflow: one's own, else the demo's.
ifndef FLOWLAKE_CONFIG
CONFIG := $(firstword $(wildcard flowlake.yaml data/demo/flowlake.yaml))
endif

.PHONY: help setup demo bench bench-athena athena test nightly lint format up down docs lock clean
.DEFAULT_GOAL := help

help: ## Say what there is to type
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/.installed .venv-dbt/.installed ## Make both environments: .venv, and .venv-dbt for dbt

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed: install it, or say PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/uv || { echo "making .venv with $(PYTHON)" && "$(PYTHON)" -m venv .venv \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV)"; }
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.venv-dbt/.installed: requirements-dbt.lock | .venv/.installed
	@test -x .venv-dbt/bin/python || { echo "making .venv-dbt" && $(BIN)/python -m venv --without-pip .venv-dbt; }
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python .venv-dbt/bin/python requirements-dbt.lock
	@touch $@

demo: setup ## Sample logs through the hourly DAG of a real Airflow, and a report
	@$(BIN)/flowlake demo --out data/demo

bench: setup ## Measure speed, memory and size; ONLY="fixed worst" for some, SCALE=0.02 to try it out
	@$(BIN)/python -m bench --only "$(ONLY)" --scale "$(or $(SCALE),1)"

bench-athena: setup ## Measure what an hourly run scans on Athena, by model; SCALE=0.1 to try it out
	@$(BIN)/python -m bench --only "athena sizing" --scale "$(or $(SCALE),1)"

athena: setup ## Start a local Athena for tests (tests/local_athena), and print how to reach it
	@PYTHONPATH=tests $(BIN)/python -m local_athena

test: setup lint ## Run all that CI runs: lint, then every test
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

nightly: setup ## Prove the invariant by random histories, kills and objects; SEED=... SHARE=0.1 ONLY=...
	PYTHONPATH=tests $(BIN)/python -m histories.nightly $(if $(SEED),--seed $(SEED)) $(if $(SHARE),--share $(SHARE)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(JOBS),--jobs $(JOBS)) $(if $(CATALOG),--catalog $(CATALOG))

lint: setup ## Check Python (ruff, mypy), SQL (sqlfmt) and the CloudFormation template (cfn-lint)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfmt --check --no-progressbar dbt_project
	$(BIN)/cfn-lint deploy/aws/*.yaml

format: setup ## Format Python and SQL
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfmt --quiet dbt_project

up: setup ## Start a local Airflow with the DAG, and print its login
	@test -n "$(CONFIG)$(FLOWLAKE_CONFIG)" || { echo "there is no flowlake.yaml: write one, or run make demo first" >&2; exit 1; }
	@$(BIN)/python -m flowlake.orchestration.local $(if $(CONFIG),--config $(CONFIG)) up

down: setup ## End the local Airflow
	@$(BIN)/python -m flowlake.orchestration.local down

docs: setup ## Write the pages that are generated: docs/dags.md, docs/tables.md
	$(BIN)/python -m flowlake.orchestration.dag_docs
	$(BIN)/python -m flowlake.table_docs

lock: $(BIN)/uv ## Resolve requirements*.txt into the lock files; what is locked stays where it may
	$(UV_COMPILE) requirements-dev.txt -o requirements.lock
	$(UV_COMPILE) requirements-dbt.txt -o requirements-dbt.lock

$(BIN)/uv:
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV)"

clean: ## Remove the demo's data and what tests and linters left; environments stay
	rm -rf data/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs
	find dags plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +
