# Every target installs what it needs; `make install` alone leaves a working .venv/bin/researchflow.
PYTHON ?= python3
DATA ?=
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo serve test check bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/researchflow demo $(if $(DATA),--data '$(DATA)')

serve: install
	$(BIN)/researchflow serve --http

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/check_imports.py

test: check
	$(BIN)/pytest

bench: install
	$(BIN)/researchflow bench

clean:
	rm -rf .venv .researchflow build dist
