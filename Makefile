# The few things one does here. `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help demo check test kernel bench scale docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## bring up the shop, show its matrix, cut a live connection, measure, clean up
	tools/demo

check: ## style, types, who imports whom, no generated file stale
	tools/check

test: ## everything: set up, check, unit, kernel and end-to-end tests, the wheel
	tools/test

kernel: ## the real program by test-run (root)
	$(PYTHON) -m pytest tests/kernel

bench: ## speed against a bare veth pair and a bridge, measured here (root)
	$(PYTHON) -m benchmarks

scale: ## the compiler in worlds of up to 100 000 pods: time, memory, single changes
	$(PYTHON) -m benchmarks.scale

docs: ## write docs/cli.md and docs/architecture.svg anew
	$(PYTHON) tools/generate.py
	$(PYTHON) tools/cli_reference.py
	$(PYTHON) tools/draw.py
