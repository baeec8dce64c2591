# Every verb of the project. README and .ci/run call only these.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run image test check lint generate soak bench bench-operator bench-router bench-hostile fuzz cluster clean

CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.1
TOOLS := $(CURDIR)/target/tools
export PATH := $(TOOLS)/bin:$(PATH)

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, serve examples/quickstart and place one real call to it (ONCE=1 ends after that call)
	@tests/need run
	@cargo build --release --bin umbriel
	@exec target/release/umbriel up examples/quickstart --call 101 --show-numbers $(if $(ONCE),--once)

image: ## Build the container image as target/image/umbriel.tar, an OCI archive
	@tests/need image
	@cargo build --release --bin umbriel
	@tests/image target/release/umbriel target/image/umbriel.tar

test: ## Install what is missing, then run every check and every test
	@tests/need test
	@$(MAKE) --no-print-directory check
	@if [ "$$(id -u)" = 0 ] && command -v go >/dev/null; then tests/cluster/cluster build; fi
	@if command -v go >/dev/null; then tests/s3/server >/dev/null; fi
	@tests/count cargo test --workspace --no-fail-fast

check: lint ## Formatting, lints, licences, bans, sources; advisories where their database can be reached
	@tests/need deny $(CARGO_DENY) $(TOOLS)
	@cargo deny --log-level error check licenses bans sources
	@tests/advisories

lint: ## Formatting and lints alone
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings

soak: ## Random churn on a cluster of its own, under calls, for MINUTES=5; SEED=… has the same again
	@tests/need test
	@cargo run --quiet --example soak -- $(or $(MINUTES),5) $(SEED)

generate: ## Write crds/*.yaml, and their copies in the chart, from the Rust types
	@cargo run --quiet -p umbriel-crds --example generate
	@cp crds/*.yaml charts/umbriel/files/crds/

cluster: ## Start a Kubernetes cluster of two nodes on this machine (DO=down ends it, DO=status shows it)
	@tests/need cluster
	@tests/cluster/cluster $(or $(DO),up)

bench: ## Measure (ONLY=router, hostile, route, operator): the router beside others, under attack; a decision; plans
	@$(if $(filter-out router,$(ONLY)),,$(MAKE) --no-print-directory bench-router)
	@$(if $(filter-out route,$(ONLY)),,cargo bench -p umbriel-config --bench route)
	@$(if $(filter-out operator,$(ONLY)),,$(MAKE) --no-print-directory bench-operator)
	@$(if $(filter-out hostile,$(ONLY)),,$(MAKE) --no-print-directory bench-hostile)

bench-operator:
	@cargo build --release --bin umbriel
	@cargo bench -p umbriel-operator --bench reconcile -- $(CURDIR)/target/release/umbriel

# SECONDS of each run and ROUNDS of all of them make it shorter or longer.
bench-router:
	@tests/need bench
	@cargo build --release --bin umbriel
	@cargo build --release --bin umbriel-bench
	@mkdir -p target/bench
	@target/release/umbriel-bench router target/release/umbriel $(or $(SECONDS),1.5) $(or $(ROUNDS),5) target/bench/router.jsonl

bench-hostile:
	@cargo build --release --bin umbriel
	@cargo build --release --bin umbriel-bench
	@mkdir -p target/bench
	@target/release/umbriel-bench hostile target/release/umbriel $(or $(SECONDS),5) $(or $(ROUNDS),3) target/bench/hostile.jsonl

fuzz: ## Look for inputs that break the readers of SIP, 10 minutes each (ONLY=uri, MINUTES=60)
	@tests/need fuzz $(CARGO_FUZZ) $(TOOLS)
	@fuzz/run $(or $(MINUTES),10) $(ONLY)

clean: ## Remove what was built and the state of `make run`
	@rm -rf target run
