PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: replay test bench lint gpu clean

$(BIN)/svsim: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test-extras: pyproject.toml $(BIN)/svsim
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,capture,hardware,notebooks]"
	@touch $@

replay: $(BIN)/svsim
	$(BIN)/svsim replay traces/llama70b.parquet

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
