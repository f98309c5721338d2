# The only way to run things: people, hooks and CI call these targets. ARGS reaches the program behind a target.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := .venv/uv/bin/uv
READY := .venv/ready

# Behind a proxy with a certificate of its own, the system knows it; the lists that uv and requests bring do not.
CERTIFICATES := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt))
export UV_SYSTEM_CERTS ?= $(if $(CERTIFICATES),true,false)
export REQUESTS_CA_BUNDLE ?= $(CERTIFICATES)

# What is built has the time of the commit, so that the same commit gives the same bytes.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1577836800)

# Each process has servers of its own, and a file of tests stays with one; folder by folder, so that what a folder's tests share
# is started once, and is gone when they are over.
PYTEST := $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast check format bench growth docs overload chaos mutants fuzz fuzz-bytes audit sbom dist types clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(READY) ## make .venv with everything that the other targets need

# uv removes from the environment what is not locked, so it lives in one of its own below.
$(READY): pyproject.toml uv.lock $(wildcard compiled/*.toml compiled/Cargo.lock compiled/src/*.rs)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Foldline needs Python 3.11 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(UV) --version 2>/dev/null | grep -q "^uv $(UV_VERSION)" || \
		{ $(PYTHON) -m venv --clear .venv/uv && .venv/uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	$(UV) sync --frozen --quiet --python $(BIN)/python
	@$(UV) pip install --quiet --python $(BIN)/python ./compiled || \
		echo "foldline-compiled needs cargo: without it everything works, and processors take twice the CPU time" >&2
	$(BIN)/python -m foldline.embedded
	@touch $@

demo: $(READY) ## start the whole stack, load the examples and show the result (ARGS=--once stops after that)
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(READY) ## run the whole test suite, against real Kafka, PostgreSQL and Chromium
	@$(PYTEST) $(ARGS)

test-fast: $(READY) ## run the tests that need no server
	@$(PYTEST) -m "not server" $(ARGS)

check: $(READY) ## lint, formatting, types, import contracts, compatibility of the schemas, speed of the hot paths
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas
	$(BIN)/python -m benchmarks.hot_paths

format: $(READY) ## format the code and mend what lint can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## compare with the peers (ARGS="--quick --json")
	@$(BIN)/python -m benchmarks $(ARGS)

growth: $(READY) ## measure how costs grow, and draw it (ARGS="records --quick")
	@$(UV) run --frozen --quiet --group bench python -m benchmarks.growth $(ARGS)

docs: $(READY) ## build the documentation as a site in build/docs, which needs no network; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(UV) run --frozen --quiet --group docs mkdocs build $(ARGS)

overload: $(READY) ## send twice what the gateway takes, for ten minutes (ARGS="--minutes 1")
	@$(BIN)/python -m benchmarks.overload $(ARGS)

chaos: $(READY) ## break a working stack for two minutes (ARGS="--seed N --minutes M")
	@$(BIN)/python -m tests.chaos $(ARGS)

mutants: $(READY) ## plant bugs in a copy of the program, and see that the tests find them
	@$(BIN)/python -m tests.mutants

fuzz: $(READY) ## try the API with made cases, 20,000 unless ARGS="--cases N --minutes M --seed S" says otherwise
	@$(BIN)/python -m tests.fuzz.campaign $(ARGS)

fuzz-bytes: $(READY) ## fuzz what strangers' bytes meet first, by coverage (ARGS="body|file|event" and libFuzzer's options)
	@$(UV) run --frozen --quiet --group fuzz-bytes python -m tests.fuzz.bytes $(ARGS)

types: $(READY) ## write the TypeScript types of the API anew (needs node and npm)
	$(BIN)/python -m producers.gateway.openapi > examples/clients/typescript/openapi.json
	cd examples/clients/typescript && npm ci --silent && npm run --silent types

audit: $(READY) ## look the locked dependencies up among the known vulnerabilities (needs a network)
	$(UV) audit --frozen --preview-features audit-command $(ARGS)

sbom: $(READY) ## print what the program is made of, as CycloneDX 1.5
	@$(UV) export --frozen --no-dev --quiet --preview-features sbom-export --format cyclonedx1.5 $(ARGS)

dist: $(READY) ## build the wheel and the source distribution into dist/, with their digests and the SBOM
	rm -rf dist
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(UV) build --quiet --no-create-gitignore
	cd dist && sha256sum *.whl *.tar.gz > SHA256SUMS
	@$(MAKE) --silent sbom > dist/foldline.cdx.json
	@ls -1 dist/*

clean: ## remove the environment and what the tools have cached
	rm -rf .venv .demo build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
