# Every command of this project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
LOCATIONS := ingestion_location dbt_location

# The first Python of 3.11 to 3.13 on this machine; PYTHON=… chooses another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo "$$python" && break; done)

export SQL
# The embedded Postgres puts its lock file into /tmp without it, which is fine.
export PYTHONWARNINGS := ignore:XDG_RUNTIME_DIR

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

# --- virtual environments: one per location, from its own lock, and one for what they share -------------------------

# $(call install,folder of the environment,lock); a location's package is installed from its folder too
define install
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or say make PYTHON=…"; exit 1; }
	@echo "Installing $(2)" >&2
	@test -x $(1)/.venv/bin/python || $(PYTHON) -m venv $(1)/.venv
	@$(1)/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement $(2)
	@test ! -f $(1)/pyproject.toml || $(1)/.venv/bin/pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --no-index --editable $(1)
	@touch $@
endef

.venv/.embedded: requirements/embedded.lock
	$(call install,.,$<)
.venv/.dev: requirements/dev.lock .venv/.embedded
	$(call install,.,$<)
%_location/.venv/.run: %_location/requirements.lock %_location/pyproject.toml
	$(call install,$*_location,$<)
%_location/.venv/.dev: %_location/dev.lock %_location/.venv/.run
	$(call install,$*_location,$<)

.PHONY: install install-dev
install: .venv/.embedded $(LOCATIONS:%=%/.venv/.run)
	@:
install-dev: .venv/.dev $(LOCATIONS:%=%/.venv/.dev) ## Install everything that developing needs
	@:

# --- the pipeline without Docker -------------------------------------------------------------------------------------

.PHONY: demo dev query assets dbt-docs
demo: ## Load three months and build ninety days on an embedded Postgres (TLC_BASE_URL=https://… for real files)
	@$(MAKE) --no-print-directory --jobs 3 install
	@.venv/bin/python -m embedded.demo
dev: ## Serve Dagster's UI on the state of the demo, both locations loaded
	@$(MAKE) --no-print-directory --jobs 3 install
	@.venv/bin/python -m embedded.dev
query: ## Print rows of the demo's warehouse as CSV (SQL="select …")
	@$(MAKE) --no-print-directory --jobs 3 install
	@.venv/bin/python -m embedded.query "$$SQL"
dbt-docs: ## Write dbt's documentation of the models as one page, .demo/dbt_docs/static_index.html
	@$(MAKE) --no-print-directory --jobs 3 install
	@.venv/bin/python -m embedded.run sh -c 'cd dbt_location/analytics && ../.venv/bin/dbt --quiet docs generate \
		--static --target-path "$(abspath $(or $(DEMO_STATE),.demo))/dbt_docs"'
	@echo "Written: $(or $(DEMO_STATE),.demo)/dbt_docs/static_index.html"
assets: ## List every asset of both locations with its location, partitions and upstream keys
	@$(MAKE) --no-print-directory --jobs 3 install
	@.venv/bin/python -m contract.workspace

# --- the compose stack -----------------------------------------------------------------------------------------------

.PHONY: up down destroy
# Compose itself says what the project is called: the name may come from .env.
project = $$(docker compose config | sed -n 's/^name: //p')
run_containers = $$(docker ps --all --quiet --filter label=project=$(project))
up: ## Build and start the compose stack, and wait until it is healthy
	docker compose up --detach --build --wait
down: ## Stop the compose stack and its runs; data and run history stay
	docker compose --profile sample stop daemon webserver
	@test -z "$(run_containers)" || docker stop --time 30 $(run_containers) >/dev/null
	docker compose --profile sample down
destroy: ## Remove the compose stack with its data, run history and run containers; images stay
	docker compose --profile sample stop
	@test -z "$(run_containers)" || docker rm --force $(run_containers) >/dev/null
	docker compose --profile sample down --volumes

# --- checks ----------------------------------------------------------------------------------------------------------

.PHONY: test test-all lint format test-locations test-cross test-stack
test: ## Run all checks and tests, the live compose stack included
	@$(MAKE) --no-print-directory --jobs 3 install-dev
	@$(MAKE) --no-print-directory lint
	@echo "Running the tests without Docker beside those of the stack, which mostly wait; each part prints when it ends"
	@$(MAKE) --no-print-directory --jobs 3 $(if $(filter output-sync,$(.FEATURES)),--output-sync) \
		test-stack test-cross test-locations
test-all: install-dev ## Run the long drills: crashes at every moment, builds in any order, a fresh clone, the live stack
	cd ingestion_location && .venv/bin/pytest -m drill ../tests/ingestion_location
	cd dbt_location && .venv/bin/pytest -m drill ../tests/dbt_location
	.venv/bin/pytest tests/drills
	.venv/bin/pytest -m drill tests/stack
test-locations: install-dev
	cd ingestion_location && .venv/bin/pytest -m 'not drill' ../tests/ingestion_location
	cd dbt_location && .venv/bin/pytest -m 'not drill' ../tests/dbt_location
test-cross: install-dev
	.venv/bin/pytest tests/cross_location
test-stack: install-dev
	.venv/bin/pytest -m 'not drill' tests/stack
lint: install-dev ## Check format, lint, types and SQL
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy contract embedded sample warehouse tests/cross_location tests/stack tests/drills
	cd ingestion_location && MYPYPATH=src:.. .venv/bin/mypy --config-file ../mypy.ini src ../tests/ingestion_location ../benchmarks
	cd dbt_location && MYPYPATH=src:.. .venv/bin/mypy --config-file ../mypy.ini src ../tests/dbt_location
	DEMO_STATE=.demo/lint .venv/bin/python -m embedded.run sh -c \
		'cd dbt_location/analytics && ../.venv/bin/sqlfluff lint models'
	dbt_location/.venv/bin/sqlfluff lint --config warehouse/.sqlfluff warehouse
format: install-dev ## Format Python and SQL
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	DEMO_STATE=.demo/lint .venv/bin/python -m embedded.run sh -c \
		'cd dbt_location/analytics && ../.venv/bin/sqlfluff fix --force models'

# --- measurements ----------------------------------------------------------------------------------------------------

benchmarks/.venv/.run: benchmarks/requirements.lock ingestion_location/requirements.lock
	@test -x benchmarks/.venv/bin/python || $(PYTHON) -m venv benchmarks/.venv
	@benchmarks/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--requirement ingestion_location/requirements.lock --requirement $<
	@benchmarks/.venv/bin/pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --no-index --editable ingestion_location
	@touch $@

.PHONY: bench bench-ingest bench-windows
bench: bench-ingest bench-windows ## Measure beside the machine's limit and other ways, into benchmarks/results.json
bench-ingest: benchmarks/.venv/.run ## Measure the load of one month (run nothing else meanwhile)
	benchmarks/.venv/bin/python -m benchmarks.ingest
bench-windows: benchmarks/.venv/.run dbt_location/.venv/.run ## Measure a window of days (run nothing else meanwhile)
	benchmarks/.venv/bin/python -m benchmarks.windows

# --- locks -----------------------------------------------------------------------------------------------------------

.PHONY: lock
compile := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: ## Compile the hash-pinned locks anew (needs uv)
	cd requirements && for set in platform embedded dev; do $(compile) $$set.in --output-file $$set.lock; done
	for location in $(LOCATIONS); do (cd $$location \
		&& $(compile) pyproject.toml --constraint ../requirements/platform.lock --output-file requirements.lock \
		&& $(compile) pyproject.toml --extra dev --constraint requirements.lock --output-file dev.lock) || exit 1; done
	cd sample && $(compile) requirements.in --output-file requirements.lock
	cd benchmarks && $(compile) requirements.in --constraint ../ingestion_location/requirements.lock \
		--output-file requirements.lock
