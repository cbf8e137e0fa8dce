# One name for each thing that people do; each sets up what it needs. `make` lists them.
#
#   make test PYTHON=python3.12              with another Python (.venv is made anew)
#   make test PYTEST_ARGS="-m 'not slow'"    with other arguments for pytest
#   make serve APP=examples.hello:app HTTP_PORT=9000

PYTHON ?= python3
VENV ?= .venv
APP ?= examples.hello:app
HTTP_PORT ?= 8000
HTTPS_PORT ?= 8443
PYTEST_ARGS ?=
# Files of tests that run at once. More than a few disturb those that watch the time.
TEST_PROCESSES ?= 3
BENCH_ARGS ?=

# For the binding to libnghttp2: without them h2 speaks HTTP/2.
BUILD_PACKAGES := libnghttp2-dev pkg-config
TEST_PACKAGES := apache2-bin chromium curl libapache2-mod-wsgi-py3 nghttp2-client nodejs openssl redis-server
BENCH_PACKAGES := build-essential libev-dev nghttp2-client nghttp2-server openssl python3-dev wrk

BIN := $(VENV)/bin
PYTEST = $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
CERTIFICATE := build/tls/localhost.crt
KEY := build/tls/localhost.key

# Stamps: what .venv was made with, and which dependencies are in it. Each depends on the one above
# and on the files that say what to install.
MADE := $(VENV)/.made-with-$(subst /,_,$(PYTHON))
SOURCES := setup.cfg pyproject.toml setup.py

# What setup.py compiles, with the C types.
COMPILED := $(wildcard gserver/*.pxd gserver/*/*.pxd)
COMPILED += $(wildcard $(COMPILED:.pxd=.py)) gserver/http2/nghttp2.pyx gserver/syscalls.pyx
COMPILED += gserver/websocket/masking.pyx

# Progress is printed as it is made, and no prompt waits for an answer that nobody will give.
export PYTHONUNBUFFERED := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test lint format docs bench debian-packages clean distclean

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

serve: $(VENV)/.installed ## Run an example over HTTP and HTTPS on 127.0.0.1
	@scripts/make-certificate.sh $(CERTIFICATE) $(KEY)
	@echo "Serving $(APP); Ctrl-C stops"
	@echo "  curl http://127.0.0.1:$(HTTP_PORT)/"
	@echo "  curl --cacert $(CERTIFICATE) https://localhost:$(HTTPS_PORT)/"
	@exec $(BIN)/gserver $(APP) \
	    --bind http://127.0.0.1:$(HTTP_PORT) --bind https://127.0.0.1:$(HTTPS_PORT) \
	    --certfile $(CERTIFICATE) --keyfile $(KEY)

# Twice: as users run it, and with all of it as Python, which is what coverage can see. Attacks have
# the machine to themselves: they watch how long others wait. What follows finds out nothing the
# second time, but takes as long: attacks, other people's clients, servers and frameworks, what is
# installed, the engine that is never Python, and what waits most of its time.
ONCE := $(addprefix --ignore tests/,attack interop elsewhere frameworks test_packaging.py)
ONCE += -k "not nghttp2" -m "not slow"

test: $(VENV)/.compiled debian-packages ## Run the tests, compiled and pure, and report their coverage
	@scripts/install-websocket-clients.sh $(BIN)/python build/clients
	@$(PYTEST) --ignore tests/attack $(PYTEST_ARGS)
	@$(BIN)/pytest tests/attack $(PYTEST_ARGS)
	@$(BIN)/coverage erase
	@GSERVER_PURE=1 $(BIN)/coverage run $(PYTEST) $(ONCE) $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(VENV)/.installed-dev ## Check style, types and the directions of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev ## Format the code and mend what can be mended by machine
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: $(VENV)/.installed-docs ## Build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

bench: $(VENV)/.installed-bench ## Measure gserver and its peers; writes into docs/
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

debian-packages: ## Install the Debian packages that tests use (only as root, only with apt)
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)

clean: ## Remove what was built, and the caches
	rm -rf build dist docs/_build htmlcov *.egg-info .coverage .coverage.* \
	    .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find benchmarks docs examples gserver tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find gserver -name '*.so' -o -name '*.c' | xargs rm -f

distclean: clean ## Remove the virtual environment too
	rm -rf $(VENV)

$(MADE):
	@scripts/make-venv.sh $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.installed: $(SOURCES) $(MADE)
	@scripts/install-debian-packages.sh $(BUILD_PACKAGES)
	@echo "Installing gserver into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

# pip install has compiled them; this follows changes to the sources.
$(VENV)/.compiled: $(COMPILED) $(VENV)/.installed-dev
	@mkdir -p build
	@$(BIN)/python setup.py -q build_ext --inplace 2>build/compile.log || { cat build/compile.log >&2; exit 1; }
	@touch $@

# bjoern is compiled on the spot.
$(VENV)/.installed-bench: $(SOURCES) $(MADE)
	@scripts/install-debian-packages.sh $(BUILD_PACKAGES) $(BENCH_PACKAGES)
	@echo "Installing gserver and what make bench needs into $(VENV)"
	@$(PIP) install --editable '.[bench]'
	@touch $@

$(VENV)/.installed-%: $(SOURCES) $(MADE)
	@scripts/install-debian-packages.sh $(BUILD_PACKAGES)
	@echo "Installing gserver and its $* dependencies into $(VENV)"
	@$(PIP) install --editable '.[$*]'
	@touch $@
