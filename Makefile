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
