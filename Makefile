# Two commands do everything on a machine with Python 3.11 or later: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs
JOBS ?= 4

.PHONY: run test check-deep lint bench clean

run: .venv/base
	$(BIN)/overlapsim run decode-llama-3.1-8b --out $(OUT)/decode-llama-3.1-8b

# A worker process for each core, up to eight: tests share nothing but their machine.
test: .venv/test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

# The fast machine against the reference on 2,000 random programs and as many serving workloads; every fault and hundreds
# of mutants must be caught, thousands of worlds must raise no alarm: half an hour of several processors.
check-deep: .venv/test
	$(BIN)/python -m pytest --hypothesis-profile=deep tests/sim/machine/test_fast_equals_reference.py tests/sim/studies/test_fast_serving.py
	$(BIN)/python tests/mutation/run.py faults --jobs $(JOBS)
	$(BIN)/python tests/mutation/run.py alarms --count 5000 --jobs $(JOBS)
	$(BIN)/python tests/mutation/run.py mutants --count 240 --jobs $(JOBS)
	$(BIN)/python tests/mutation/run.py table

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-columns=median,rounds

clean:
	rm -rf .venv runs

# Stamps: an environment is made again when the project's dependencies change.
.venv/base: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "overlapsim needs Python 3.11 or later, this is " + sys.version.split()[0] + ": call make with PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/test: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
