# `make demo` and `make test` do all their own set-up in ./.venv; the second time that takes no time and no network.

# 3.11 first: its PyTorch wheel is pinned by digest. A name on the PATH may be a shim that fails, so each is run.
FIND_PYTHON = for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; \
	done; for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done
ifndef PYTHON
PYTHON := $(shell $(FIND_PYTHON))
endif
CONFIG ?= configs/demo/config.yaml
# What the base computes in where tests ask it: auto, bfloat16 or float32.
DTYPE ?= auto
BIN := .venv/bin
# Programs and tests start Python hundreds of times: without bytecode each start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
UV ?= uv
# Where the CPU build of torch is looked for when locking.
TORCH_LINKS ?= $(or $(PIP_FIND_LINKS),https://download.pytorch.org/whl/cpu/torch/)
LOCK_OPTIONS = --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
COMPILE = $(UV) pip compile pyproject.toml $(LOCK_OPTIONS)
UNUSED_CLIENTS = rouge-score sqlitedict word2number \
	azure-core azure-identity azure-storage-blob granian msal msal-extensions polars polars-runtime-32 pyroscope-io
CLIENTS = $(UV) pip compile --group clients $(LOCK_OPTIONS) $(addprefix --no-emit-package ,$(UNUSED_CLIENTS))

.DEFAULT_GOAL := help
.PHONY: help setup ui check-ui test-ui demo serve test test-unit test-faults test-engine soak test-clients setup-clients setup-tests check format docs build lock clean \
	bench bench-peers

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## build ./.venv (every other target does it first)
ifeq ($(strip $(PYTHON)),)
	@echo "error: Python 3.11 or later is needed and none was found; install it, or name it: make PYTHON=/path/to/python3 …" >&2; exit 2
endif
	@$(PYTHON) -m launch.setup.environment

demo: setup ## start everything on the demo configuration, name the sample clusters, stop (STAY=1: go on serving)
	@exec $(BIN)/lora-gateway demo $(if $(STAY),--stay)

serve: setup ## serve CONFIG (default: the demo) until Ctrl-C
	@exec $(BIN)/lora-gateway up --config "$(CONFIG)"

# An engine on a CPU has one thread here, beside the other tests. A run's output comes when it is over, where make can keep it so long.
test: setup ## run all tests, those on a real vLLM beside the others
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -k $(if $(findstring jobserver,$(MAKEFLAGS)),,-j2) \
	$(and $(filter output-sync,$(.FEATURES)),-O) test-engine test-unit test-faults

test-unit: setup ## run the tests that need no engine
	@$(BIN)/python -m pytest -q -n auto tests/unit

# Debian's, where it is missing and may be installed; elsewhere the tests that need it are left out, and say so.
REDIS_THERE = command -v redis-server valkey-server > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	&& (apt-get install -qq -y --no-install-recommends redis-server || { apt-get update -qq && apt-get install -qq -y --no-install-recommends redis-server; }) > /dev/null 2>&1; } || true

test-faults: setup ## kill, stop, starve and lie to real processes, and print what was promised and seen
	@$(REDIS_THERE)
	@$(BIN)/python -m pytest -q -rs -n auto tests/faults

# Ray is no part of set-up; its lock agrees with requirements/cpu.txt, so nothing else changes. SCALE_ARGS=--real: two real engines too.
test-scale: setup ## end nodes and programs of a Ray cluster, and Redis, under load, and print what was promised and seen
	@$(REDIS_THERE)
	@$(BIN)/python -c 'import ray' 2> /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/ray.txt
	@$(BIN)/python -m pytest -q -rs tests/scale $(SCALE_ARGS)

KUBERNETES ?= 1.32
check-kubernetes: ## hold deploy/kubernetes against the schemas of Kubernetes (needs kubectl)
	@[ -x .make/kubernetes/bin/kubernetes-validate ] || { $(PYTHON) -m venv .make/kubernetes && .make/kubernetes/bin/pip install --quiet \
	--disable-pip-version-check --require-hashes -r requirements/kubernetes.txt; }
	@for overlay in base overlays/cpu overlays/redis overlays/standby; do \
	kubectl kustomize deploy/kubernetes/$$overlay > .make/kubernetes/objects.yaml && .make/kubernetes/bin/kubernetes-validate -k $(KUBERNETES) --strict \
	--quiet .make/kubernetes/objects.yaml || exit 1; done

soak: setup ## mixed traffic with faults for MINUTES (30), and what is left of it; SOAK_ARGS=--real: on a real vLLM
	@$(if $(SOAK_ARGS),$(BIN)/python -m launch.base.demo_base)
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(SOAK_ARGS)

test-engine: setup ## run the tests on a real vLLM
	@$(BIN)/python -m launch.base.demo_base
	@$(BIN)/python -m pytest -q tests/engine --dtype $(DTYPE)

setup-clients: setup ## build ./.venv-clients, and what Node needs (test-clients does it first)
	@$(PYTHON) -m launch.setup.environment clients

# The page's sources have their own packages, pinned with digests; nothing of them runs at their installation.
PAGE_MODULES := ui/node_modules/.package-lock.json
$(PAGE_MODULES): ui/package.json ui/package-lock.json
	@cd ui && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier > /dev/null && touch node_modules/.package-lock.json

ui: $(PAGE_MODULES) ## make the page's files in gateway/ui/assets of ui/src (needs node and npm)
	@cd ui && node build.mjs

check-ui: $(PAGE_MODULES) ## say whether gateway/ui/assets is what ui/src makes
	@cd ui && node build.mjs --check

# Debian's, where it is missing and may be installed; elsewhere the page's test in a browser is left out, and says so.
CHROMIUM_THERE = command -v chromium chromium-browser google-chrome > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	&& (apt-get install -qq -y --no-install-recommends chromium || { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; }) > /dev/null 2>&1; } || true

test-ui: setup-clients check-ui ## run the page's tests in a real browser, on a real vLLM
	@$(BIN)/python -m launch.base.demo_base
	@$(CHROMIUM_THERE)
	@.venv-clients/bin/python -m pytest -q -rs -c tests/clients/pytest.ini tests/clients/test_ui.py

test-clients: setup-clients check-ui ## run the clients' own suites on a real vLLM, in an environment of their own (needs node and npm)
	@$(BIN)/python -m launch.base.demo_base
	@$(CHROMIUM_THERE)
	@.venv-clients/bin/python -m pytest -q -rs -c tests/clients/pytest.ini tests/clients

setup-tests: setup-clients $(PAGE_MODULES) ## fetch whatever the tests need, which they do themselves otherwise
	@$(BIN)/python -m launch.base.demo_base > /dev/null
	@$(REDIS_THERE)
	@$(CHROMIUM_THERE)

check: setup ## lint, formatting, types, start-up files that no package owns
	@failed=0; $(BIN)/python -m launch.setup.pth_files || failed=1; $(BIN)/ruff check . || failed=1; $(BIN)/ruff format --check . || failed=1; $(BIN)/mypy || failed=1; \
	exit $$failed

format: setup ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## write docs/configuration.md, docs/architecture.md and docs/command-line.md anew
	@$(BIN)/python -m launch.setup.configuration_page
	@$(BIN)/python -m launch.setup.architecture_page
	@$(BIN)/python -m launch.cli.reference

build: ## make the sdist and the wheel of this version in dist/
	@$(PYTHON) -m venv .make/build
	@.make/build/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@.make/build/bin/python -m build --no-isolation

# torchvision, torchaudio and torchcodec from PyPI break at import beside a CPU torch, and text models need none of them.
# triton is for GPUs only.
# s3fs wants older files of AWS' own packages than the newest, which litellm takes as well: all else is as cpu.txt has it.
# Of the clients, three of lm-eval's packages would be built from source and several of the LiteLLM proxy's are large or for
# other clouds; nothing here runs them.
lock: ## pin everything anew (needs uv and npm)
	$(COMPILE) --extra cpu --extra train --extra traces --extra dev --find-links $(TORCH_LINKS) --no-emit-package torch \
		--no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec \
		--no-emit-package triton -o requirements/cpu.txt --quiet > /dev/null
	$(COMPILE) --extra gpu --extra train --extra traces --extra dev -o requirements/gpu.txt --quiet > /dev/null
	@mkdir -p .make; sed -nE '/^(boto3|botocore|s3transfer)==/d; s/^([A-Za-z0-9_.-]+==[^ ;]+).*/\1/p' requirements/cpu.txt > .make/pinned.txt
	$(COMPILE) --extra s3 --extra fallback --constraint .make/pinned.txt -o requirements/s3.txt --quiet > /dev/null
	$(CLIENTS) -o requirements/clients.txt --quiet > /dev/null
	$(COMPILE) --extra ray --constraint requirements/cpu.txt -o requirements/ray.txt --quiet > /dev/null
	for group in build docs audit kubernetes; do \
	$(UV) pip compile --group $$group $(LOCK_OPTIONS) -o requirements/$$group.txt --quiet > /dev/null || exit 1; done
	cd ui && npm install --package-lock-only --ignore-scripts --no-audit --no-fund > /dev/null
	cd tests/clients/node && npm install --package-lock-only --ignore-scripts --no-audit --no-fund > /dev/null

.PHONY: audit licences sbom site test-scale check-kubernetes
site: ## build the documentation as a site in site/; a link that leads nowhere fails it
	@[ -x .make/site/bin/mkdocs ] || { $(PYTHON) -m venv .make/site && .make/site/bin/pip install --quiet \
	--disable-pip-version-check --require-hashes -r requirements/docs.txt; }
	@NO_MKDOCS_2_WARNING=1 .make/site/bin/mkdocs build --strict --quiet

licences: setup ## write docs/licences.md anew, from the CPU environment
	@$(BIN)/python -m launch.setup.licences_page

sbom: ## list what every lock pins, in CycloneDX' form, in dist/
	@$(PYTHON) -m launch.setup.sbom dist

# A finding is for a person to judge, and its database is not within reach everywhere: no part of `make check`.
audit: ## ask for known vulnerabilities of what the locks pin (needs the network)
	@$(PYTHON) -m venv .make/audit
	@.make/audit/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@failed=0; for lock in cpu gpu s3 clients ray build docs audit kubernetes; do echo "requirements/$$lock.txt"; \
	.make/audit/bin/pip-audit --progress-spinner off --disable-pip --require-hashes -r requirements/$$lock.txt || failed=1; \
	done; exit $$failed

clean: ## remove what set-up built here (the model cache stays)
	rm -rf .venv .venv-clients tests/clients/node/node_modules ui/node_modules .make build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info

bench: setup ## measure overhead and scale beside nginx and the installed peers (needs wrk and nginx-light)
	@$(BIN)/python -m launch.bench $(BENCH_ARGS)

bench-peers: setup ## install the peers of the comparison, pinned, each into an environment of its own under .bench/
	@$(BIN)/python -m launch.bench.overhead.peers
