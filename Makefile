# Every command of this project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# Arguments reach a recipe as variables of its environment, never as a part of its text. Make would expand the text of a
# variable that was given to it wherever it is used or exported; := with $(value) keeps the text as it is.
ARGUMENTS := LOCATION TAG FORCE NAME TEAM DROP_DATA BACKUP FORMAT SQL REBUILD ROLE SINCE TO FOR ON RUNS SEED MINUTES
keep_as_is = $(eval override $(1) := $$(value $(1)))$(eval export $(1))
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(call keep_as_is,$(name))))
$(foreach name,$(ARGUMENTS),$(if $(filter environment,$(origin $(name))),$(call keep_as_is,$(name))))
# $(call given,NAME,--option=): the argument's value after a text; nothing where the argument was not given.
given = $(if $(filter-out undefined,$(origin $(1))),$(2)"$$$(1)")
ops := .venv/bin/python -m ops

# Found by their folders, so that a new one is installed, checked and locked without being listed.
LOCATIONS := $(patsubst %/pyproject.toml,%,$(wildcard *_location/pyproject.toml))
# Tests that span the locations, and need no stack.
CROSS := $(addprefix tests/,cross_location docs ops platform_host)
# Those with data: they have a role in the warehouse, and run without Docker too.
DATA_LOCATIONS := $(patsubst %/warehouse.sql,%,$(wildcard *_location/warehouse.sql))

# What the shell sets for another Python would break every one here. Text is UTF-8, whatever the locale.
$(foreach name,$(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES))),$(eval unexport $(name)))
export PYTHONUTF8 := 1
# With it, cd may lead out of this folder.
unexport CDPATH

# The first Python of 3.11 to 3.13 on this machine; PYTHON=… chooses another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -E -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo "$$python" && break; done)

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

# --- virtual environments: one per location, from its own lock, and one for what they share -------------------------

# uv installs in a thirtieth of pip's CPU time. It is used where it runs; UV= chooses pip.
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv)
# Either makes an environment that the other can use. pip runs as a module, because a script cannot name a Python whose
# path is long or has spaces.
venv = $(if $(UV),test -x $(1)/.venv/bin/python || $(UV) venv --quiet --python $(PYTHON) $(1)/.venv,\
	test -x $(1)/.venv/bin/pip || $(PYTHON) -m venv $(1)/.venv)
pip = $(if $(UV),$(UV) pip install --python "$(1)/.venv/bin/python",\
	"$(1)/.venv/bin/python" -m pip install --disable-pip-version-check) --quiet --no-deps
# $(call install,folder of the environment,locks,folder of a package). What the installer prints is shown only if it fails.
define install
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or run make PYTHON=…"; exit 1; }
	@echo "Installing $(2)" >&2
	@$(venv)
	@{ $(pip) --require-hashes $(2:%=--requirement %) $(if $(3),&& $(pip) --no-build-isolation --no-index --editable $(3)); } \
		> $(1)/.venv/pip.log 2>&1 || { code=$$?; cat $(1)/.venv/pip.log; \
		echo "$(or $(UV),pip) could not install $(2). Its output is above and in $(1)/.venv/pip.log."; exit $$code; } >&2
	@touch $@
endef

.venv/.ops: ops/requirements.lock
	$(call install,.,$<)
.venv/.demo: demo/requirements.lock .venv/.ops
	$(call install,.,$<)
.venv/.dev: tests/requirements.lock .venv/.demo
	$(call install,.,$<)
%_location/.venv/.run: %_location/requirements.lock %_location/pyproject.toml
	$(call install,$*_location,$<,$*_location)
.PRECIOUS: %_location/.venv/.run
%_location/.venv/.dev: %_location/dev.lock %_location/.venv/.run
	$(call install,$*_location,$<,$*_location)

.PHONY: install install-dev
install: .venv/.demo $(DATA_LOCATIONS:%=%/.venv/.run)
	@:
install-dev: .venv/.dev $(LOCATIONS:%=%/.venv/.dev) ## Install everything that developing needs
	@:

# --- the pipeline without Docker -------------------------------------------------------------------------------------

.PHONY: installed demo dev query assets dbt-docs
installed:
	@$(MAKE) --no-print-directory --jobs 3 install
# REBUILD=1 builds again what was built before the newest zones.
demo: installed ## Load three months and build ninety days on an embedded Postgres (TLC_BASE_URL=https://… for real files)
	@.venv/bin/python -m demo demo $(if $(filter 1,$(REBUILD)),--rebuild)
dev: installed ## Serve Dagster's UI on the demo's state, with ingestion_location and dbt_location loaded
	@.venv/bin/python -m demo dev
query: installed ## Print rows of the demo's warehouse as CSV (SQL="select …")
	@.venv/bin/python -m demo query -- "$$SQL"
dbt-docs: installed ## Write dbt's documentation of the models as one page, .demo/dbt_docs/static_index.html
	@.venv/bin/python -m demo run sh -c 'cd dbt_location/analytics && ../.venv/bin/dbt --quiet docs generate \
		--static --target-path "$$DEMO_STATE/dbt_docs"'
	@echo "Written: $(or $(DEMO_STATE),.demo)/dbt_docs/static_index.html"
assets: installed ## List every asset of the locations with data, with its location, partitions and upstream keys
	@$(ops) contract

# --- the compose stack -----------------------------------------------------------------------------------------------

.PHONY: doctor up down destroy
doctor: .venv/.ops ## Check whether this machine is ready for the compose stack, before its first start, and what to do
	@$(ops) doctor
# Compose knows the project's name, which may come from .env.
project = $$(docker compose config | sed -n 's/^name: //p')
run_containers = $$(docker ps --all --quiet --filter label=project=$(project))
# The one-shots of the last start are removed before the next: where compose recreates one, since its image is another,
# it recreates all that depends on it.
up: .venv/.ops ## Build and start the compose stack and wait until it is healthy; deployed versions are kept
	@services=$$($(ops) pin) && set -x && docker compose build $$services \
		&& docker compose rm --force migrate workspace $(LOCATIONS:%=%_policy) && { docker compose up --detach --wait \
		|| { docker compose logs --no-log-prefix --tail 20 door | grep "does not open" | sort --unique; exit 1; }; }
down: ## Stop the compose stack and its runs; data and run history are kept
	docker compose --profile sample stop daemon webserver
	@test -z "$(run_containers)" || docker stop --time 30 $(run_containers) >/dev/null
	docker compose --profile sample down
destroy: ## Remove the compose stack with its data, run history and run containers; images are kept
	docker compose --profile sample stop --timeout 1
	@test -z "$(run_containers)" || docker rm --force $(run_containers) >/dev/null
	docker compose --profile sample down --volumes
	docker volume rm --force $(project)_deployments

# --- deploys of one location, docs/deploying.md ----------------------------------------------------------------------

.PHONY: deploy rollback deployments watch
deploy: .venv/.ops ## Replace one location's code server, verified (LOCATION=dbt_location, TAG=… of an existing image, FORCE=1, ON=kubernetes)
	@$(ops) deploy $(if $(filter 1,$(FORCE)),--force) $(call given,TAG,--tag=) $(call given,ON,--on=) -- $(call given,LOCATION)
rollback: .venv/.ops ## Return to a location's previous good version (LOCATION=dbt_location, FORCE=1, ON=kubernetes)
	@$(ops) rollback $(if $(filter 1,$(FORCE)),--force) $(call given,ON,--on=) -- $(call given,LOCATION)
deployments: .venv/.ops ## List the deploys: when, by whom, with what result (LOCATION=dbt_location for one location, ON=kubernetes)
	@$(ops) deployments $(call given,ON,--on=) -- $(call given,LOCATION)
watch: .venv/.ops ## Serve each change of one location's folder, until Ctrl-C, for development (LOCATION=dbt_location)
	@$(ops) watch -- $(call given,LOCATION)

# --- Kubernetes, kubernetes/README.md --------------------------------------------------------------------------------

.PHONY: kubernetes-up kubernetes-status kubernetes-destroy
kubernetes-up: .venv/.ops ## Install or upgrade the stack on kubectl's current context (KUBERNETES_VALUES=… a file of values)
	@$(ops) kubernetes up
kubernetes-status: .venv/.ops ## Show the pods of the stack and of its runs in Kubernetes
	@$(ops) kubernetes status
kubernetes-destroy: .venv/.ops ## Remove the stack from Kubernetes with its data, run history and passwords
	@$(ops) kubernetes destroy

# --- locations that come and go, docs/adding-a-location.md -----------------------------------------------------------

.PHONY: new-location remove-location check-location build-location
new-location: .venv/.dev ## Create a code location from the template (NAME=weather_location, TEAM=weather-team)
	@$(ops) new-location -- $(call given,NAME) $(call given,TEAM)
remove-location: .venv/.ops ## Remove a location from the stack and the repository (NAME=…, DROP_DATA=1 with its tables)
	@$(ops) remove-location $(if $(filter 1,$(DROP_DATA)),--drop-data) -- $(call given,NAME)
check-location: .venv/.ops ## Check and test one location on its own, in a copy without the others (NAME=…)
	@$(ops) check-location -- $(call given,NAME)
build-location: ## Build one location's image from its folder (NAME=…)
	docker build --build-arg PYTHON_IMAGE --tag "$${NAME:?Give a name: NAME=…}:$${TAG:-check}" "./$$NAME"

# --- secrets of one location, docs/secrets.md --------------------------------------------------------------------------

.PHONY: secret secrets remove-secret
secret: .venv/.ops ## Store a secret of a location, read from stdin or a prompt (LOCATION=…, NAME=…)
	@$(ops) secret -- $(call given,LOCATION) $(call given,NAME)
secrets: .venv/.ops ## List the names of a location's secrets (LOCATION=…)
	@$(ops) secrets -- $(call given,LOCATION)
remove-secret: .venv/.ops ## Remove a secret of a location (LOCATION=…, NAME=…)
	@$(ops) remove-secret -- $(call given,LOCATION) $(call given,NAME)

# --- who may do what, docs/access.md -----------------------------------------------------------------------------------

.PHONY: user users remove-user token tokens remove-token roles whoami audit
user: .venv/.ops ## Give a user a role, and a new user a password (NAME=…, ROLE=viewer|launcher|editor|admin, LOCATION=… for one)
	@$(ops) users add $(call given,ROLE,--role=) $(call given,LOCATION,--location=) -- $(call given,NAME)
users: .venv/.ops ## List the users with their roles
	@$(ops) users list
remove-user: .venv/.ops ## Remove a user (NAME=…)
	@$(ops) users remove -- $(call given,NAME)
token: .venv/.ops ## Make a service token and print it once (NAME=…, ROLE=…, LOCATION=… for one)
	@$(ops) tokens add $(call given,ROLE,--role=) $(call given,LOCATION,--location=) -- $(call given,NAME)
tokens: .venv/.ops ## List the service tokens with their roles
	@$(ops) tokens list
remove-token: .venv/.ops ## Remove a service token (NAME=…)
	@$(ops) tokens remove -- $(call given,NAME)
roles: .venv/.ops ## List the roles, what each may do, and who has it
	@$(ops) roles
whoami: .venv/.ops ## Print who this machine is to the webserver (DAGSTER_TOKEN, PUBLIC_URL)
	@$(ops) whoami
audit: .venv/.ops ## List who did what (SINCE=7d or a date, NAME=… for one user)
	@$(ops) audit $(call given,SINCE,--since=) $(call given,NAME,--user=)

# --- backups ---------------------------------------------------------------------------------------------------------

.PHONY: backup-key backup restore
backup-key: .venv/.ops ## Make the keys for encrypted backups (BACKUP_RECIPIENT_FILE=… public, BACKUP_KEY_FILE=… private)
	@$(ops) backup-key
backup: .venv/.ops ## Write a portable copy of both databases and the reports into BACKUP_DIR, by default backups/ (ON=kubernetes)
	@$(ops) backup $(call given,ON,--on=)
restore: .venv/.ops ## Replace the stack's data and start it (TO="2026-01-31 12:00" or BACKUP=backups/…, FORCE=1 if it is not empty, ON=kubernetes)
	@$(ops) restore $(if $(filter 1,$(FORCE)),--force) $(call given,TO,--to=) $(call given,ON,--on=) -- $(call given,BACKUP)
.PHONY: rehearse-upgrade
rehearse-upgrade: .venv/.ops ## Restore a backup into a throwaway server of new versions, and verify it (POSTGRES_IMAGE=postgres:18, BACKUP=backups/…)
	@$(ops) rehearse-upgrade -- $(call given,BACKUP)

.PHONY: rotate-password
rotate-password: .venv/.ops ## Give a role in Postgres a new password; no run fails (LOCATION=dbt_location, or dagster for the platform)
	@$(ops) rotate-password -- $(call given,LOCATION)

.PHONY: alerts alerts-test silence unsilence
alerts: .venv/.ops ## List what needs a person, what is silenced, and the receivers (docs/alerts.md)
	@$(ops) alerts
alerts-test: .venv/.ops ## Send a test message to every receiver of alerts
	@$(ops) alerts test
silence: .venv/.ops ## Send no alerts about a location, an asset, a service or a team for a time (NAME=…, FOR=2h)
	@$(ops) alerts silence $(call given,FOR,--for=) -- $(call given,NAME)
unsilence: .venv/.ops ## End a silence (NAME=…)
	@$(ops) alerts unsilence -- $(call given,NAME)

.PHONY: status diagnostics rebuild
status: .venv/.ops ## Show the state of the compose stack and whether it needs a person (FORMAT=json, ON=kubernetes)
	@$(ops) status $(call given,FORMAT,--format=) $(call given,ON,--on=)
diagnostics: .venv/.ops ## Write an archive for a bug report: versions, settings, states, logs; without secrets
	@$(ops) diagnostics
rebuild: .venv/.ops ## Build again what was built before the newest zones (the stack; without Docker: make demo REBUILD=1)
	@$(ops) rebuild

# --- documentation ---------------------------------------------------------------------------------------------------

docs/.venv/.run: docs/requirements.lock
	$(call install,docs,$<)
.PHONY: docs
docs: docs/.venv/.run ## Build the pages of docs/ as a site, docs/_build/index.html; a broken link is an error
	docs/.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs docs/_build

.PHONY: screenshots
screenshots: .venv/.demo ## Take the README's pictures from the demo in headless Chromium, with make dev running (CHROMIUM=…)
	@.venv/bin/python -m demo screenshots

# --- checks ----------------------------------------------------------------------------------------------------------

.PHONY: test test-all test-release test-kubernetes soak lint lint-python lint-types lint-sql format test-images test-locations test-cross test-stack
# $(call parts,how many at once,targets): a part with a stack mostly waits, so more run at once than there are cores. The
# idle services of a stack take a fifth of a core.
define parts
	@echo "Running $(1) parts at once; each prints when it ends"
	@$(MAKE) --no-print-directory --jobs $(1) $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(2)
endef
checks := test-stack test-cross test-locations lint
drill := -m "drill and not release"
# The drills of the stack are spread over several stacks. What takes longest starts first.
stacks := deploy others failures backup automation walls proxies
drills := $(addprefix drills-,deploy others backup failures automation walls $(LOCATIONS) cross proxies)
test: ## Run all checks and tests, including those of the live compose stack
	$(call parts,4,$(checks))
# Three at once keep two cores busy. More only add stacks, each of which takes a fifth of a core while it waits.
# The images are built before: what takes longest would else wait for them, and start last.
test-all: install-dev test-images ## Run the drills: crashes at any moment, builds in any order, the live stack and the cluster with failures
	$(call parts,3,IMAGES_ARE_BUILT=1 test-kubernetes $(drills))
# Not in CI, which has two cores and an hour: what seldom changes, and the longest of what other drills show in part.
test-release: install-dev test-images ## Run what is checked before a release: upgrades, a fresh clone, real files, random kills
	$(stack) .venv/bin/pytest -m release tests/stack $(CROSS)
	for location in $(LOCATIONS); do (cd $$location && .venv/bin/pytest -m release || test $$? = 5) || exit 1; done
	$(stack) .venv/bin/pytest tests/release
	$(stack) .venv/bin/pytest -m release tests/kubernetes
test-locations: $(LOCATIONS:%=test-%)
# Each in a copy without the others; lint checks format, lint and types.
test-%_location: install-dev
	$(ops) check-location --python $*_location/.venv/bin/python $*_location
test-cross: install-dev
	.venv/bin/pytest -m 'not drill' $(CROSS)
# The images of all stacks are built once, under this tag.
images := $(or $(STACK_PROJECT),dagster-taxi-test)
test-images: .venv/.dev
	STACK_PROJECT=$(images) .venv/bin/python -c 'from tests.stack.conftest import Stack; Stack().build()'
# Every stack has a name of its own, none the beginning of another one.
stack = STACK_IMAGES=$(images) STACK_PROJECT=$(images)-$(@:test-%=%)
# It takes longest and needs no location's environment, only the images.
test-stack: test-images
	$(stack) .venv/bin/pytest -m 'not drill' tests/stack
drills_failures := failures
drills_deploy := deploy
drills_automation := automation
# These share a stack in which everything is built.
drills_backup := connections backup backup_moment
# These start the proxies alone. A part has one project: each has eight networks, and the engine has room for thirty.
drills_proxies := walls_docker
drills_walls := rotate_password $(filter-out $(drills_proxies),\
	$(patsubst tests/stack/test_%.py,%,$(wildcard tests/stack/test_walls_*.py)))
drills_others := $(filter-out $(foreach each,$(stacks),$(drills_$(each))),\
	$(patsubst tests/stack/test_%.py,%,$(wildcard tests/stack/test_*.py)))
.PHONY: $(drills)
$(stacks:%=drills-%): install-dev $(if $(IMAGES_ARE_BUILT),,test-images)
	$(stack) .venv/bin/pytest $(drill) $(foreach each,$(drills_$(@:drills-%=%)),tests/stack/test_$(each).py)
# pytest ends with 5 where there is no drill.
$(LOCATIONS:%=drills-%): drills-%: install-dev
	cd $* && .venv/bin/pytest $(drill) || test $$? = 5
test-kubernetes: install-dev $(if $(IMAGES_ARE_BUILT),,test-images) ## Test the stack in a cluster of two nodes (ENSURE_CLUSTER=… a script that starts one)
	$(stack) .venv/bin/pytest $(drill) tests/kubernetes
# It kills by process id, so it runs as root on the engine's machine.
soak: install-dev ## Launch runs on a stack of its own while random parts are killed (RUNS=1000 SEED=1 MINUTES=240 RUNS_PER_KILL=8)
	STACK_PROJECT=dagster-taxi-soak .venv/bin/python -m tests.stack.soak $(call given,RUNS,--runs=) \
		$(call given,SEED,--seed=) $(call given,MINUTES,--minutes=) $(call given,RUNS_PER_KILL,--runs-per-kill=)
drills-cross: install-dev
	.venv/bin/pytest $(drill) $(CROSS)
lint: lint-python lint-types lint-sql ## Check format, lint, types and SQL
	@:
lint-python: install-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.renovate .github/renovate.json
# One mypy with one cache, so that what all environments have, such as Dagster, is checked once.
mypy = ../.venv/bin/mypy --python-executable .venv/bin/python --config-file ../pyproject.toml --cache-dir ../.mypy_cache
lint-types: install-dev
	MYPYPATH=services/dagster .venv/bin/mypy ops demo services benchmarks/backup.py benchmarks/deploy.py benchmarks/door.py benchmarks/kubernetes.py benchmarks/runs.py tests
	for location in $(LOCATIONS); do (cd $$location && MYPYPATH=src:tests:.. $(mypy) src tests) || exit 1; done
	cd ingestion_location && MYPYPATH=src:.. $(mypy) ../benchmarks --exclude '(backup|deploy|door|kubernetes|runs).py'
sqlfluff = DEMO_STATE=.demo/lint .venv/bin/python -m demo run sh -c \
	'cd dbt_location/analytics && ../.venv/bin/sqlfluff $(1) models'
lint-sql: install-dev
	$(call sqlfluff,lint)
	dbt_location/.venv/bin/sqlfluff lint --config services/migrate/.sqlfluff services/migrate */warehouse.sql
format: install-dev ## Format Python and SQL
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	$(call sqlfluff,fix --force)

# --- what the images contain -----------------------------------------------------------------------------------------

.PHONY: sbom
sbom: .venv/.dev ## Write a CycloneDX SBOM of each image of the stack into sbom/ (NAME=… for one location's image, TAG=…)
	@.venv/bin/python -m ops.sbom $(call given,TAG,--tag=) -- $(call given,NAME)

# --- measurements ----------------------------------------------------------------------------------------------------

benchmarks/.venv/.run: ingestion_location/requirements.lock benchmarks/requirements.lock
	$(call install,benchmarks,$^,ingestion_location)

.PHONY: bench bench-ingest bench-windows bench-runs bench-deploy bench-backup bench-door bench-kubernetes
bench: bench-ingest bench-windows bench-runs bench-deploy bench-backup ## Run all measurements, into benchmarks/results.json
bench-door: .venv/.dev ## Measure the door of the running stack: its calls, and 200 browsers during a backfill
	.venv/bin/python -m benchmarks.door
bench-ingest: benchmarks/.venv/.run ## Measure the load of one month (run nothing else meanwhile)
	benchmarks/.venv/bin/python -m benchmarks.ingest
bench-windows: benchmarks/.venv/.run dbt_location/.venv/.run ## Measure a window of days (run nothing else meanwhile)
	benchmarks/.venv/bin/python -m benchmarks.windows
bench-runs: install-dev ## Measure runs on the live stack, from the request to the end (run nothing else meanwhile)
	STACK_PROJECT=dagster-taxi-bench .venv/bin/python -m benchmarks.runs
bench-deploy: install-dev ## Measure what a deploy of both locations costs those who use the stack meanwhile
	STACK_PROJECT=dagster-taxi-bench .venv/bin/python -m benchmarks.deploy
bench-backup: install-dev ## Measure what archiving costs, and what is lost and how long it takes when Postgres is lost
	STACK_PROJECT=dagster-taxi-bench .venv/bin/python -m benchmarks.backup
bench-kubernetes: install-dev test-images ## Measure 200 queued runs and 10,000 runs of history in a cluster of two nodes (RUNS=200)
	STACK_IMAGES=$(images) .venv/bin/python -m benchmarks.kubernetes $(call given,RUNS,--runs=)

# --- locks -----------------------------------------------------------------------------------------------------------

.PHONY: lock lock-location lock-template
compile := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# $(call compile_location,folder)
compile_location = cd $(1) \
	&& $(compile) pyproject.toml --constraint "$(CURDIR)/services/dagster/requirements.lock" --output-file requirements.lock \
	&& $(compile) pyproject.toml --extra dev --constraint requirements.lock --output-file dev.lock \
	&& echo pytest | $(compile) - --constraint dev.lock --output-file test.lock \
	&& cp "$(CURDIR)/.ci/requirements.lock" installer.lock
lock-location: ## Recompile one location's locks (NAME=…, needs uv)
	$(call compile_location,"$${NAME:?Give a name: NAME=…}")
lock-template: .venv/.dev
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT \
		&& .venv/bin/copier copy --quiet --defaults --data name=new_location --data schema=new --data team=new-team \
			ops/template "$$folder" \
		&& ($(call compile_location,"$$folder/new_location")) \
		&& cp "$$folder"/new_location/*.lock 'ops/template/files/{{ name }}/'
lock: ## Recompile the hash-pinned locks (needs uv)
	for folder in .ci services/dagster services/alerts demo ops tests docs demo/sample; do \
		(cd $$folder && $(compile) requirements.in --output-file requirements.lock) || exit 1; done
	cp .ci/requirements.lock demo/sample/installer.lock
	cd tests/release && $(compile) older.in --output-file older.lock
	cd tests/stack/skew && $(compile) ../../../ingestion_location/pyproject.toml --override requirements.in \
		--output-file requirements.lock
	for location in $(LOCATIONS); do ($(call compile_location,$$location)) || exit 1; done
	$(MAKE) --no-print-directory lock-template
	cd benchmarks && $(compile) requirements.in --constraint ../ingestion_location/requirements.lock \
		--output-file requirements.lock
