# Everything lives in this folder: the environment in .venv, the demo's Airflow and its data in .demo.
.POSIX:
.SUFFIXES:

VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
PORT = 8080
DOCS_PORT = 8000
# Empty: a container image may forbid bytecode, and each of the many Airflow processes would then take seconds to
# compile the same modules.
PYTHONDONTWRITEBYTECODE =
# As many tests at a time as the machine has cores. No more than four: some measure memory, some start an Airflow.
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal
# PYTHON names a Python to use (default: the newest suitable one), AIRFLOW an Airflow (default: the newest).

.PHONY: help demo demo-ui test test-all check docs docs-serve screenshots bench bench-quick build clean

help:
	@echo "make demo      run three nights of exports and syncs in a real Airflow, and show the results"
	@echo "make demo-ui   the example DAGs in Airflow's web interface (PORT=8080); stop with Ctrl-C"
	@echo "make test      run the quick tests, in parallel: enough to trust a change (up to five minutes on two cores)"
	@echo "make test-all  run every test: many seeds, kills, 100,000 rows, databases, a browser (half an hour)"
	@echo "make check     lint, format check and types"
	@echo "make docs      build the documentation into build/docs; a warning is an error"
	@echo "make docs-serve  build it and serve it (DOCS_PORT=8000); stop with Ctrl-C"
	@echo "make screenshots  take the pictures of the run page for the docs, of runs made for them"
	@echo "make bench     compare speed and memory with other tools; writes docs/benchmarks.md (20 minutes)"
	@echo "make bench-quick  the essentials of that in two minutes; prints them"
	@echo "make build     build the wheel and the source archive into dist/"
	@echo "make clean     remove .venv, .demo and caches"

demo: $(INSTALLED)
	@$(BIN)/python demo/run.py

demo-ui: $(INSTALLED)
	@$(BIN)/python demo/ui.py --port $(PORT)

test: $(INSTALLED)
	@$(PYTEST) -m "not slow"

test-all: $(INSTALLED)
	@$(PYTEST)

check: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs

docs-serve: docs
	@echo "http://127.0.0.1:$(DOCS_PORT)/"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs $(DOCS_PORT)

screenshots: $(INSTALLED)
	$(BIN)/python tests/e2e/screenshots.py docs/images

# BENCH has options for it, such as BENCH='--limit 600'; see python -m benchmarks --help.
bench: $(INSTALLED)
	@$(BIN)/python -m benchmarks $(BENCH)

bench-quick: $(INSTALLED)
	@$(BIN)/python -m benchmarks --quick $(BENCH)

build: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --installer uv

clean:
	rm -rf $(VENV) .demo .bench build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# uv resolves Airflow's dependencies in seconds, where pip takes many minutes.
$(INSTALLED): pyproject.toml
	@PYTHON='$(PYTHON)' sh .ci/make_venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@echo "Installing Airflow and the development tools into $(VENV) ..."
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --editable . --group dev $(AIRFLOW)
	@touch $@

# The reference is made from docstrings, so Sphinx imports the package and lives where Airflow does.
$(VENV)/.docs: $(INSTALLED)
	@echo "Installing Sphinx into $(VENV) ..."
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --group docs
	@touch $@
