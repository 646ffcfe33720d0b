# The few things one does here. `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help demo check test kernel bench docs fuzz mutants branches

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## bring up the shop, show its matrix, cut a live connection, measure, clean up
	tools/demo

check: ## style, types, who imports whom, no generated file stale
	tools/check

test: ## everything: set up, check, unit, kernel and end-to-end tests, the wheel
	tools/test

kernel: ## the real program by test-run (root)
	$(PYTHON) -m pytest tests/kernel

fuzz: ## attacks at length: 10^8 packets (the oracle judges one stretch in 10), 10^6 documents (root, hours)
	CLOCHE_PACKETS=$${CLOCHE_PACKETS:-100000000} CLOCHE_ORACLE=$${CLOCHE_ORACLE:-10} \
	CLOCHE_DOCUMENTS=$${CLOCHE_DOCUMENTS:-1000000} $(PYTHON) -m pytest tests/fuzz

mutants: ## programs made wrong on purpose: does the suite notice each? (root, half an hour)
	$(PYTHON) tests/mutation/run.py --write

branches: ## which branches of the C program the attacks and kernel tests take (root, minutes)
	$(PYTHON) tests/branches/run.py --write

bench: ## speed against a bare veth pair and a bridge, measured here (root)
	$(PYTHON) -m benchmarks

docs: ## write docs/cli.md and docs/architecture.svg anew
	$(PYTHON) tools/generate.py
	$(PYTHON) tools/cli_reference.py
	$(PYTHON) tools/draw.py
