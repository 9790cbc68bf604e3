# SPDX-License-Identifier: GPL-3.0-or-later
# As root on a Debian machine: `make lab` and `make test` do all their own set-up.
.POSIX:
.PHONY: help setup lab lab-down test model soak bench site-cost idle lint pythons docs changelog

python = .venv/bin/python

help: ## These words
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 16

setup: ## Programs and .venv, when something is missing
	@tests/setup.sh

lab: setup ## Two real nodes of an emulated cloud, with pods (LAB_NODES= LAB_SUITE= LAB_NETWORK=)
	@$(python) -m tests.lab up

lab-down: setup ## Take the lab away, whatever is left of it
	@$(python) -m tests.lab down

test: setup ## Unit, kernel, model and end-to-end tests
	@$(python) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

model: setup ## The pool against 100,000 random operations, then against planted bugs (OPERATIONS= SEED=)
	@$(python) -m tests.model --operations $${OPERATIONS:-100000} $${SEED:+--seed $$SEED} --mutations

soak: setup ## What takes longer: the lab up and down ten times, and killed at random moments
	@$(python) -m tests.lab.soak

bench: setup ## Everything that docs/performance.md tells, measured beside what people use today (QUICK=1 ONLY=)
	@$(python) -m tests.bench $${QUICK:+--quick} $${ONLY:+--only $$ONLY}

site-cost: setup ## What a repeated roll-out over 20 names costs, beside as many pings, in the lab that runs (PAIRS=)
	@$(python) -m tests.bench.rollout --pairs $${PAIRS:-5}

idle: setup ## What an agent with 60 NICs costs while nothing happens, and after 10,000 pods (IDLE=)
	@$(python) -m tests.bench.idle $(IDLE)

lint: setup ## Style, types, and what the tools for collections say of the artifact (CHECKS=)
	@$(python) -m tests.quality $(CHECKS)

pythons: setup ## Unit tests under each of nodes' interpreters that is on this machine
	@$(python) -m tests.quality pythons

docs: setup ## The documentation as a site, in .cache/quality/site
	@$(python) -m tests.quality docs docs-site

changelog: setup ## CHANGELOG.rst from changelogs/fragments, for the version in galaxy.yml
	@$(python) -m tests.quality.release
