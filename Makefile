# What people and CI run. CI calls these and nothing else.

CARGO  ?= cargo
PYTHON ?= python3
DEMO   := summaries
VENV   := target/foreign-venv
PEERS  := target/peers

.DEFAULT_GOAL := help
.PHONY: help run test check foreign bench bench-once corpus-table release clean

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

bench: ## Run the benchmarks (optimised build), then other tokenizers and chunkers on the same texts
	$(CARGO) bench --locked
	DOCMILL_SCENARIO_FIGURES=1 $(CARGO) test --locked --quiet --test main scenarios -- --nocapture
	$(CARGO) bench --locked --quiet --bench text -- --export $(CURDIR)/$(PEERS)/texts
	$(CARGO) run --locked --quiet --release --manifest-path benches/peers/Cargo.toml --target-dir $(PEERS)/build \
		-- $(PEERS)/texts > $(PEERS)/rust.tsv
	test -x $(PEERS)/venv/bin/python || $(PYTHON) -m venv $(PEERS)/venv
	$(PEERS)/venv/bin/pip install --quiet -r benches/peers/requirements.txt
	$(PEERS)/venv/bin/python benches/peers/peers.py $(PEERS)/texts > $(PEERS)/python.tsv
	$(PYTHON) benches/peers/table.py $(PEERS)/texts/docmill.tsv $(PEERS)/rust.tsv $(PEERS)/python.tsv

bench-once: ## Run each benchmark once, unoptimised: they can not rot
	$(CARGO) bench --locked --profile dev -- --once

corpus-table: ## What is read of each file below CORPUS=DIR: format, characters, blocks, verdict
	$(CARGO) build --locked --quiet
	cd $(CORPUS) && find . -type f | sort | xargs -d '\n' $(CURDIR)/target/debug/docmill extract --summary

release: ## Build the optimised binary, target/release/docmill
	$(CARGO) build --locked --release

clean: ## Remove what was built and what the demo wrote
	$(CARGO) clean
	rm -rf $(DEMO) .docmill-sandbox
