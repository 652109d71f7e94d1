# make demo   set up, then run the whole way once on generated data
# make test   set up, then run the tests
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Not an editable install: that puts this folder on sys.path, where datasets/ would pass for
# Hugging Face's package. So the package is installed anew (seconds) before it is used.
INSTALL = $(PIP) --no-deps --force-reinstall .

.PHONY: demo test lint clean

demo: $(READY)
	$(INSTALL)
	$(BIN)/gnnfusion demo

test: $(READY)
	$(INSTALL)
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Torch comes first and by its exact version: that takes the CPU build where there is one.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -c constraints.txt ".[text,dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist runs stores .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
