# The few things one does here. `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help demo check test kernel kernel-6.1 upgrades torture bench scale docs fuzz mutants branches

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## bring up the shop, show its matrix, cut a live connection, measure, clean up
	tools/demo

check: ## style, types, who imports whom, no generated file stale
	tools/check

test: ## everything: set up, check, unit, kernel and end-to-end tests, the wheel
	tools/test

kernel: ## the real program by test-run (root)
	$(PYTHON) -m pytest tests/kernel

fuzz: ## attacks at length: 10^8 packets (the oracle judges two in a hundred), 10^6 documents (root, half an hour and more)
	$(PYTHON) tests/fuzz/run.py

mutants: ## programs made wrong on purpose: does the suite notice each? (root, half an hour)
	$(PYTHON) tests/mutation/run.py --write

kernel-6.1: ## the kernel tests and some of the agent's by Debian 12's own kernel, booted in qemu (root, up to an hour where it is emulated)
	$(PYTHON) tools/old_kernel.py

upgrades: ## layout upgrades under traffic, killed at every step, with both loaders (root, minutes)
	CLOCHE_FULL=1 $(PYTHON) -m pytest tests/e2e/test_agent_upgrade.py

torture: ## every fault, many rounds, under counted traffic: kills, upgrades, crowds, full tables, disk, store, alterations (root, some 25 minutes)
	$(PYTHON) tests/torture/run.py --rounds $${ROUNDS:-4}

branches: ## which branches of the C program the attacks and kernel tests take (root, minutes)
	$(PYTHON) tests/branches/run.py --write

bench: ## speed against bare veth, bridge, iptables, nft; classification, the compiler; docs/results.md (root)
	$(PYTHON) -m benchmarks
	$(PYTHON) -m benchmarks.classify
	$(PYTHON) -m benchmarks.scale
	$(PYTHON) -m benchmarks.effect
	$(PYTHON) -m benchmarks.services
	$(PYTHON) -m benchmarks.profile
	$(PYTHON) -m benchmarks.footprint
	$(PYTHON) -m benchmarks.page

scale: ## the compiler in worlds of up to 100 000 pods: time, memory, single changes
	$(PYTHON) -m benchmarks.scale

docs: ## write docs/cli.md, docs/kernels.md, docs/results.md, docs/torture.md, docs/attacks.md and docs/architecture.svg anew
	$(PYTHON) tools/generate.py
	$(PYTHON) tools/cli_reference.py
	$(PYTHON) tools/kernels.py
	$(PYTHON) tools/draw.py
	$(PYTHON) -m benchmarks.page
	$(PYTHON) tests/torture/page.py
	$(PYTHON) tests/fuzz/page.py
