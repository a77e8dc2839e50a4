# Everything a newcomer needs: `make run` and `make test`. Each target installs what it lacks,
# says what it does, and is quick to repeat. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
RUST_SOURCES := $(shell find dataplane -name target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print 2>/dev/null)

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# System packages and Rust; prints the one line to run when it may not install them itself.
.PHONY: system
system:
	@tools/system-packages

$(VENV)/.python: requirements.lock tools/python-environment
	@tools/python-environment $(VENV)
	@touch $@

$(VENV)/.native: $(VENV)/.python pyproject.toml $(RUST_SOURCES)
	@echo "building the native extension (a few minutes the first time)"
	@. tools/rust-path; log=$$(mktemp); PATH="$(CURDIR)/.tools/bin:$$PATH" \
	    $(BIN)/maturin develop --uv --release --skip-install >$$log 2>&1 || { cat $$log; exit 1; }; \
	    rm -f $$log
	@$(BIN)/python tools/link_package.py
	@touch $@

.PHONY: build
build: system $(VENV)/.native ## build everything; leaves the command at .venv/bin/skydive
	@$(BIN)/python -m compileall -q src/skydiver

.PHONY: run
run: build ## start analyzer and agent on this host, and print where to look
	@tools/system-user
	@tools/link-command
	@exec $(BIN)/skydive allinone

.PHONY: demo
demo: build ## a small lab of namespaces with traffic, and five commands to paste
	@tools/system-user
	@tools/link-command
	@exec $(BIN)/python -m skydiver.lab

.PHONY: check
check: build ## format, lint, types, layers, plain tests: no root, a minute
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/check_layout.py
	@. tools/rust-path; cd dataplane; cargo fmt --check; cargo clippy --quiet --release --all-targets -- -D warnings
	@$(BIN)/pytest -q -m 'not root'

.PHONY: test
test: check ## everything, including what needs root and namespaces
	@. tools/rust-path; cd dataplane; cargo test --quiet --release -p skydive-core
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-10} tools/fuzz
	@tools/system-user
	@tools/root-tests $(BIN)
	@tools/vm-tests $(BIN)

.PHONY: bench
bench: build ## figures of TARGETS next to their targets; writes docs/performance.md
	@. tools/rust-path; $(BIN)/python -m benches

.PHONY: fuzz
fuzz: build ## fuzz the Rust parsers for FUZZ_SECONDS (default 60) each
	@tools/fuzz

.PHONY: wheel
wheel: build ## wheels in dist/: skydive (abi3, runs without a compiler) and skydive-publisher
	@. tools/rust-path; $(BIN)/maturin build --release --out dist
	@.tools/bin/uv build --quiet --no-build-isolation --python $(BIN)/python --wheel \
	    --out-dir dist clients/skydive-publisher

.PHONY: lock
lock: $(VENV)/.python ## renew requirements.lock from pyproject.toml
	@.tools/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header \
	    --extra dev --python-version 3.11 --universal pyproject.toml -o requirements.lock
