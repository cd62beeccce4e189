# The project's commands. `make` alone lists them: a target is shown by the sentence after its `##`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

lab := e2e/lab/lab

.PHONY: help
help: ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: lab-up
lab-up: ## bring up a real Kubernetes of three zones on this host (root; the first time builds it, about 10 minutes)
	@$(lab) up

.PHONY: lab-status
lab-status: ## show the lab's machines, nodes and faults
	@$(lab) status

.PHONY: lab-shell
lab-shell: ## open a shell where kubectl and helm know the lab's cluster
	@$(lab) shell

.PHONY: lab-down
lab-down: ## remove everything that the lab made
	@$(lab) down

# The comparison with Apache ZooKeeper: make bench ROUNDS=1 SECONDS=3 is the short one.
ROUNDS ?= 5
SECONDS ?= 4
BENCHMARKS ?= docs/benchmarks.md

.PHONY: bench
bench: ## compare with Apache ZooKeeper, write docs/benchmarks.md (20 minutes; with ROUNDS=1 SECONDS=3 about 4)
	cargo build --release -p zab-server -p zab-bench
	"$${CARGO_TARGET_DIR:-target}"/release/zab-bench compare --server "$${CARGO_TARGET_DIR:-target}"/release/zab-server \
		--rounds $(ROUNDS) --seconds $(SECONDS) --output $(BENCHMARKS) --json target/bench/results.json

# Of the simulator: how many seeds, from which on.
RUNS ?= 1000
FROM ?= 0

.PHONY: sim
sim: ## simulate ensembles from RUNS seeds on from FROM; with SEED=n replay one, with its trace
	@cargo run -q -p zab-sim -- $(if $(SEED),$(SEED),--runs $(RUNS) --from $(FROM) --keep-going)

.PHONY: demo
demo: ## the main job: a Kubernetes, the operator, three voters, a rolling restart under load (30 minutes at first, then 5)
	@$(lab) up
	@$(lab) images
	@cargo build --release -p zab-e2e --bin zab-demo
	@$(lab) exec -- "$${CARGO_TARGET_DIR:-target}"/release/zab-demo

.PHONY: test
test: ## all tests, in stages, each with its time; e2e/check STAGE... runs some of them
	@e2e/check
