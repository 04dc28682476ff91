# What people and CI run. CI calls these and nothing else.

CARGO  ?= cargo
PYTHON ?= python3
DEMO   := summaries
VENV   := target/foreign-venv

.DEFAULT_GOAL := help
.PHONY: help run test check foreign bench bench-once release clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Summarise fixtures/docs against the embedded sandbox; results in ./summaries
	$(CARGO) run --locked --quiet -- run pipelines/summarise.toml --sandbox
	@echo; echo "One of the results, $(DEMO)/text/rfc8259.txt.md:"; echo
	@cat $(DEMO)/text/rfc8259.txt.md

test: ## Run every test
	$(CARGO) test --locked

check: ## Formatting, and clippy with warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

foreign: ## Run against another S3 server (moto) and under another client (boto3), both from PyPI
	$(CARGO) build --locked --quiet
	test -x $(VENV)/bin/moto_server || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet 'moto[server]==5.2.5' 'boto3>=1.44,<2'
	$(VENV)/bin/python tests/foreign/check.py target/debug/docmill

bench: ## Run the benchmarks (optimised build)
	$(CARGO) bench --locked

bench-once: ## Run each benchmark once, unoptimised: they can not rot
	$(CARGO) bench --locked --profile dev -- --once

release: ## Build the optimised binary, target/release/docmill
	$(CARGO) build --locked --release

clean: ## Remove what was built and what the demo wrote
	$(CARGO) clean
	rm -rf $(DEMO) .docmill-sandbox
