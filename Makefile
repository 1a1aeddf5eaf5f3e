# Everything lives in this folder: the environment in .venv, the demo's Airflow and its data in .demo.
.POSIX:
.SUFFIXES:

VENV = .venv
PYTHON = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed
PORT = 8080

.PHONY: help demo demo-ui test check build clean

help:
	@echo "make demo      export 5,000 made-up contacts with a real Airflow run and show the result"
	@echo "make demo-ui   the same in Airflow's web interface (PORT=8080); stop with Ctrl-C"
	@echo "make test      run the tests"
	@echo "make check     lint, format check and types"
	@echo "make build     build the wheel and the source archive into dist/"
	@echo "make clean     remove .venv, .demo and caches"

demo: $(INSTALLED)
	@$(PYTHON) demo/run.py

demo-ui: $(INSTALLED)
	@$(PYTHON) demo/ui.py --port $(PORT)

test: $(INSTALLED)
	@$(PYTHON) -m pytest

check: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

build: $(INSTALLED)
	rm -rf dist
	$(PYTHON) -m build --installer uv

clean:
	rm -rf $(VENV) .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# uv resolves Airflow's dependencies in seconds, where pip takes many minutes.
$(INSTALLED): pyproject.toml
	@sh demo/make_venv.sh $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@echo "Installing Airflow and the development tools into $(VENV) ..."
	@$(PYTHON) -m uv pip install --quiet --python $(PYTHON) --editable . --group dev
	@touch $@
