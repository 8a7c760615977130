# Every habit has one name here. Each target first builds or refreshes .venv (.ci/bootstrap), which is quick when nothing
# changed. Paths are relative throughout, so a checkout may live under a path with spaces.
#
#   make test ARGS="tests/unit -k jid"     narrows a test run
#   make run ARGS="--no-sandbox"           passes options on
#   make PYTHON=python3.13 …               chooses the interpreter of a new .venv

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
CODE := whatisup actors api benchmarks tests
ARGS ?=


.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run-env dev-env
run-env:
	@sh .ci/bootstrap run
dev-env:
	@sh .ci/bootstrap dev

.PHONY: run
run: run-env ## serve on 127.0.0.1:8080 with SQLite under var/; webhooks may go to loopback
	@WEBHOOK_ALLOW_PRIVATE_CIDRS="$${WEBHOOK_ALLOW_PRIVATE_CIDRS-127.0.0.0/8,::1/128}" exec $(BIN)/python -m api.cli serve $(ARGS)

.PHONY: demo
demo: run-env ## the guided tour: one number's life in about two minutes
	@exec $(BIN)/python -m api.demo $(ARGS)

.PHONY: test
test: dev-env ## run all tests (ARGS= narrows them)
	@sh .ci/test $(ARGS)

.PHONY: check
check: dev-env ## format, lint, types, import contracts, spelling, then all tests
	@echo "check: format"         && $(BIN)/python -m ruff format --check --quiet --diff $(CODE)
	@echo "check: lint"           && $(BIN)/python -m ruff check --quiet $(CODE)
	@echo "check: types"          && $(BIN)/python -m mypy --no-error-summary
	@echo "check: imports"        && $(BIN)/lint-imports --no-logo >.venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }
	@echo "check: spelling"       && $(BIN)/python -m codespell_lib $(CODE) deploy .ci *.md Makefile pyproject.toml
	@echo "check: tests"          && sh .ci/test

.PHONY: coverage
coverage: dev-env ## all tests with branch coverage, by file; half as long again
	@WHATISUP_COVERAGE=1 sh .ci/test

.PHONY: fmt
fmt: dev-env ## format, and apply the lint fixes that are safe
	@$(BIN)/python -m ruff check --quiet --fix-only $(CODE)
	@$(BIN)/python -m ruff format $(CODE)

.PHONY: bench
bench: dev-env ## WhatIsUp and Baileys side by side with 1 and 50 sessions; ten minutes at most
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-full
bench-full: dev-env ## the same with up to 2000 sessions, and a soak: hours; goes on where it was interrupted
	@exec $(BIN)/python -m benchmarks --full $(ARGS)

.PHONY: chaos
chaos: dev-env ## kill everything while 10,000 messages go each way, count, on both databases (about half an hour at most)
	@exec $(BIN)/python -m tests.chaos $(ARGS)

.PHONY: proto
proto: run-env ## regenerate the protobuf code of whatisup/wire and whatisup/e2ee from its .proto
	@sh .ci/proto

.PHONY: constraints
constraints: dev-env ## rewrite constraints.txt from what .venv holds
	@sh .ci/freeze

.PHONY: clean
clean: ## remove .venv and everything generated (never var/, which holds data)
	@rm -rf .venv build dist *.egg-info htmlcov coverage.xml .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache \
		tests/interop/node_modules benchmarks/baileys/node_modules
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@echo "clean: done (var/ is kept: it holds your data)"
