# Everything sets itself up: a virtual environment in .venv from requirements.lock, and a clear sentence if libsodium is missing.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: help setup card demo demo-clean smoke test check bench growth soak interop vectors migration lock scripts
help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Renkei needs Python 3.11 or newer; set PYTHON=…"; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: .venv/ready  ## Install everything that is needed
	@ldconfig -p 2>/dev/null | grep -q libsodium.so || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq libsodium23 >/dev/null 2>&1; } \
	  || $(BIN)/python -c 'import ctypes.util,sys; sys.exit(not ctypes.util.find_library("sodium"))' \
	  || { echo "libsodium is missing: install it with 'apt-get install libsodium23' and run this again."; exit 3; }

demo: setup  ## Raise the nation of the pack on this machine; Ctrl-C stops, a second start resumes
	@$(BIN)/renkei nation up

demo-clean:  ## Throw the demo's data away
	rm -rf var/demo

smoke: setup  ## The whole way on a small nation; one JSON line
	@$(BIN)/renkei nation smoke

WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
test: setup  ## All tests but the long ones, which are in soak
	@sh tests/prepare.sh
	@# one more than there are cores, for a nation often waits; what failed in company is tried again alone, where it must pass
	@$(BIN)/python -m pytest -m "not long" -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  || $(BIN)/python -m pytest -m "not long" --last-failed --last-failed-no-failures none

check: setup  ## Format, lint, types, import rules
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/ruff check src tests bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup  ## Measure, and how it grows in short; writes bench/results/latest.json and growth.json
	@$(BIN)/python -m bench.run
	@$(BIN)/python -m bench.growth
	@$(BIN)/python -m bench.orders
	@$(BIN)/python -m bench.alarms
	@$(BIN)/python -m bench.cards
	@$(BIN)/python -m bench.visits
	@$(BIN)/python -m bench.changes
	@$(BIN)/python -m bench.notices --residents 20000
	@$(BIN)/python -m bench.portal
	@$(BIN)/python -m bench.adapter --rows 200000
	@$(BIN)/python -m bench.catalogue --datasets 20000 --corporations 200000

growth: setup  ## The long form: ten million leaves, 2,000 institutions, a million rows, five million corporations
	@$(BIN)/python -m bench.growth --long
	@$(BIN)/python -m bench.adapter
	@$(BIN)/python -m bench.catalogue

INQUIRIES ?= 100000
soak: setup  ## The long forms: kill processes under load, then attack what was captured; writes bench/results/soak.json
	@$(BIN)/python -m pytest -m long
	@$(BIN)/python -m bench.soak --inquiries $(INQUIRIES)

interop: setup  ## What others' programs read of ours: CKAN's harvester (installs CKAN into var/interop)
	@test -x var/interop/bin/python || $(PYTHON) -m venv var/interop
	@var/interop/bin/pip install --quiet --disable-pip-version-check 'ckan[requirements]' ckanext-dcat
	@$(BIN)/python -m tests.interop.catalogue var/catalog.ttl
	@var/interop/bin/python tests/interop/harvest.py var/catalog.ttl

vectors: setup  ## Write the published test vectors anew
	@$(BIN)/python -m tests.vectors.make

migration: setup  ## make migration PACKAGE=gateway NAME=what_changes
	@$(BIN)/python -m renkei.institution.migrate $(PACKAGE) $(NAME)

card: setup  ## What a smart card reader needs besides: pyscard, and Debian's pcscd, opensc, vsmartcard-vpcd, softhsm2; a typeface for names
	@{ [ "$$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	     pcscd opensc vsmartcard-vpcd softhsm2 swig libpcsclite-dev fonts-ipamj-mincho >/dev/null; } \
	  || echo "Install Debian's pcscd opensc vsmartcard-vpcd softhsm2 swig libpcsclite-dev fonts-ipamj-mincho, if they are not there."
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-card.lock

lock:  ## Pin what is installed in .venv now
	@$(BIN)/pip freeze --all --exclude-editable | grep -viE '^(pip|renkei|pyscard|opencv-python-headless|numpy)==' > requirements.lock

scripts:  ## Make the browser's script of its source and libraries (needs Node.js); the result is in the repository
	@cd src/renkei/portal/scripts && npm ci --silent --no-audit --no-fund && node node_modules/esbuild/install.js && node make.mjs
