# `make` lists what there is. Everything is installed into a virtual environment in .venv, in the versions of
# envs/requirements.txt, once: the stamps below stand for what has been installed.

PYTHON ?= python3
CORES ?= all

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
# Tests run side by side. More than four workers would make what they share too often.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist load --maxschedchunk 2
USUAL := not faults and not configs and not slurm
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint envs/requirements.txt

# Where containers forbid it, every job and every test worker would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast coverage test-faults test-configs test-slurm soak lint docs picture clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20

demo: $(RUNTIME) ## simulate a screen, train, map and score it: some ten minutes on two cores
	$(BIN)/snakemake --cores $(CORES)
	@echo "The report: results/demo/report/index.html"

test: $(DEVELOPMENT) ## run all tests but those of test-faults, test-configs and test-slurm
	$(PYTEST) $(SIDE_BY_SIDE) -m "$(USUAL)"

test-fast: $(DEVELOPMENT) ## run the tests that take a second or less
	$(PYTEST) $(SIDE_BY_SIDE) -m "$(USUAL) and not slow"

coverage: $(DEVELOPMENT) ## run the tests of `make test`, and say which lines of the package they do not reach
	$(PYTEST) $(SIDE_BY_SIDE) -m "$(USUAL)" --cov --cov-report=term-missing:skip-covered

test-faults: $(DEVELOPMENT) ## kill, fill, damage and copy runs, and see that nothing is lost
	$(PYTEST) $(SIDE_BY_SIDE) -m faults

test-configs: $(DEVELOPMENT) ## run the demo, the tutorial and the real data sets from beginning to end, and check them
	$(PYTEST) $(SIDE_BY_SIDE) --dist loadfile -m configs

soak: $(DEVELOPMENT) ## endurance: 2,000 plates planned, 100 run, 20,000 steps, an hour of damaged files
	$(BIN)/python benchmarks/soak.py
	CELLMAE_FUZZ_SECONDS=3600 CELLMAE_FUZZ_SEED=$$(date +%s) $(BIN)/python -m pytest tests/fuzzing/test_mutations.py

test-slurm: $(DEVELOPMENT) ## run the workflow on a Slurm that the tests start (Debian's slurmctld, slurmd, slurm-client, munge)
	$(BIN)/python -m pytest -m slurm

lint: $(DEVELOPMENT) ## check format, style, types and the workflow
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

docs: $(DEVELOPMENT) ## write the generated pages of docs/ and build the site in site/; a warning fails
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

picture: ## take the README's picture of the demo's report, with chromium
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1500 \
	  --screenshot=docs/images/report.png "file://$(CURDIR)/results/demo/report/index.html"

clean: ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): envs/requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing cellmae and what it needs into $(VENV): some minutes, once."
	$(PIP_INSTALL) --editable ".[workflow]"
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	@echo "Installing what the tests need into $(VENV)."
	$(PIP_INSTALL) --editable ".[workflow,dev,docs]"
	@touch $@
