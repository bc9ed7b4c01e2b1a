# `make demo` and `make test` are all a newcomer needs. Both install once into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-slow bench lint clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ebm-cli needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e ".[dev]"
	touch $(STAMP)

demo: $(STAMP)  ## train, sample and evaluate real digits; ends with the pictures and the numbers
	EBM_RUN_STAMP=demo-$$$$ BIN=$(BIN) bash scripts/demo.sh

test: $(STAMP)  ## the tests, without those marked slow
	$(BIN)/python -m pytest -q

test-slow: $(STAMP)  ## the tests marked slow: trainings of minutes
	$(BIN)/python -m pytest -q -m slow

bench: $(STAMP)  ## what is claimed about speed, in pairs; a quarter of an hour
	$(BIN)/python -m benchmarks --bf16
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.operations
	$(BIN)/python -m benchmarks.latency

lint: $(STAMP)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
