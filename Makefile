# Every target installs what it needs; `make install` alone leaves a working .venv/bin/researchflow.
PYTHON ?= python3
DATA ?=
BIN := .venv/bin
STAMP := .venv/.installed
PEERS := .venv/.peers

.PHONY: install demo serve test check bench lock clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check \
		--editable '.[dev]'
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
	$(BIN)/pytest --numprocesses auto --dist loadfile

bench: $(PEERS)
	$(BIN)/researchflow bench

# The engines to compare with. One has no wheel for some platforms; the figures then say so.
$(PEERS): $(STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check \
		--editable '.[bench]'
	-PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check \
		--only-binary pysof --editable '.[bench-rust]'
	touch $@

# Writes constraints.txt anew from the newest versions that pyproject.toml allows.
lock:
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install --quiet --disable-pip-version-check hatchling \
		'.[dev,draw,s3,bench,bench-rust]'
	{ echo '# The versions that were tested together; `make lock` writes this file.'; \
	  .venv/lock/bin/pip freeze --exclude researchflow; } > constraints.txt
	rm -rf .venv/lock

clean:
	rm -rf .venv .researchflow build dist
