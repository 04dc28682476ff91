# What people and CI run. CI calls these and nothing else.

CARGO ?= cargo
DEMO  := summaries

.DEFAULT_GOAL := help
.PHONY: help run test check bench release clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: ## Summarise fixtures/docs against the embedded sandbox; results in ./summaries
	$(CARGO) run --locked --quiet -- run pipelines/summarise.toml --sandbox
	@echo; echo "The first of the summaries in ./$(DEMO):"; echo
	@cat "$$(find $(DEMO) -name '*.md' | LC_ALL=C sort | head -n 1)"

test: ## Run every test
	$(CARGO) test --locked

check: ## Formatting, and clippy with warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: ## Run the benchmarks
	$(CARGO) bench --locked

release: ## Build the optimised binary, target/release/docmill
	$(CARGO) build --locked --release

clean: ## Remove what was built and what the demo wrote
	$(CARGO) clean
	rm -rf $(DEMO)
