# Two commands for newcomers: `make demo` and `make test`. Everything lives in .venv and kt3d-data/, both ignored by git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
# Compiled modules are kept, whatever the shell says: else each worker and each program of a test compiles them anew.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest tests --ignore=tests/benchmarks -n 2 --dist worksteal
RUNTIME := $(VENV)/.installed
DEVELOP := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs

.PHONY: demo test test-all lint format bench torture fuzz site clean

demo: $(RUNTIME)
	$(BIN)/kt3d demo $(if $(BUDGET),--budget-minutes $(BUDGET))

test: $(DEVELOP)
	$(PYTEST) -m "not slow"

test-all: $(DEVELOP)
	$(PYTEST)

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The boards as HTML pages, with the entries they link to, and the documentation, ready to be served at URL.
site: $(DOCS)
	rm -rf site
	$(BIN)/python docs/build.py site/docs
	$(BIN)/kt3d --quiet leaderboard build --leaderboards leaderboards --html site --url "$(URL)"

# Five runs of every row, on a machine with nothing else to do; without ONLY the rows go into results and documentation.
bench: $(DEVELOP)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest tests/benchmarks -m "not slow" $(if $(ONLY),-k "$(ONLY)",--keep)

# Kills, faults and starvation of every command; damaged files for every reader. SECONDS says how long.
torture: $(DEVELOP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/campaign/torture.py --seconds $(or $(SECONDS),600)

fuzz: $(DEVELOP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/campaign/fuzz.py --seconds $(or $(SECONDS),600)

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(RUNTIME): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(DOCS): $(RUNTIME)
	$(PIP) -e ".[docs]"
	touch $@

$(DEVELOP): $(RUNTIME)
	$(PIP) -e ".[test,lint]"
	touch $@

clean:
	rm -rf $(VENV) site kt3d-data/demo .mypy_cache .ruff_cache .hypothesis
