# Everything lives in this folder: the environment in .venv, the demo's Airflow and its data in .demo.
.POSIX:
.SUFFIXES:

VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
PORT = 8080
# PYTHON names a Python to use (default: the newest suitable one), AIRFLOW an Airflow (default: the newest).

.PHONY: help demo demo-ui test check build clean

help:
	@echo "make demo      three nights of exports and syncs with a real Airflow, and what came of them"
	@echo "make demo-ui   the example DAGs in Airflow's web interface (PORT=8080); stop with Ctrl-C"
	@echo "make test      run the tests"
	@echo "make check     lint, format check and types"
	@echo "make build     build the wheel and the source archive into dist/"
	@echo "make clean     remove .venv, .demo and caches"

demo: $(INSTALLED)
	@$(BIN)/python demo/run.py

demo-ui: $(INSTALLED)
	@$(BIN)/python demo/ui.py --port $(PORT)

test: $(INSTALLED)
	@$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

build: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --installer uv

clean:
	rm -rf $(VENV) .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# uv resolves Airflow's dependencies in seconds, where pip takes many minutes.
$(INSTALLED): pyproject.toml
	@PYTHON='$(PYTHON)' sh .ci/make_venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@echo "Installing Airflow and the development tools into $(VENV) ..."
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --editable . --group dev $(AIRFLOW)
	@touch $@
