PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input

.PHONY: replay test bench lint gpu clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "svsim needs Python 3.11 or newer, this is $$($(PYTHON) -V 2>&1); make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "[1/3] a virtual environment in $(VENV), of $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)

$(BIN)/svsim: pyproject.toml | $(BIN)/python
	@echo "[2/3] svsim and what it needs (a minute; pip tells what it fetches)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.test-extras: pyproject.toml $(BIN)/svsim
	@echo "[3/3] what the tests need (minutes; PyTorch is large)"
	@$(PIP) "torch==2.13.0"
	@$(PIP) -e ".[test,capture,hardware,notebooks,distributed]"
	@touch $@

replay: $(BIN)/svsim
	@echo "[3/3] svsim replay traces/llama70b.parquet (the first run also compiles its loop: half a minute)"
	@$(BIN)/svsim replay traces/llama70b.parquet

test: $(VENV)/.test-extras
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: $(VENV)/.test-extras
	$(BIN)/python -m pytest -o addopts="--import-mode=importlib" tests/benchmarks --benchmark-only --benchmark-columns=min,median,rounds

lint: $(VENV)/.test-extras
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# On a machine with a GPU, PyTorch and transformers: calibration tables, captures, validation runs.
GPU_PYTHON ?= python3
gpu:
	$(GPU_PYTHON) calibration/gpu_programme.py --out calibration/out

clean:
	rm -rf $(VENV)
