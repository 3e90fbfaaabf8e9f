# make run · make test · make bench · make cuts · make soak · make crash · make liquidations; `make install` alone makes a .venv with .venv/bin/perpwire.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check -q
SEED ?= 1
COUNT ?= 20
SECONDS ?= 20
ROUNDS ?= 7
OUTAGE_S ?= 120

.PHONY: verify-books install install-test run test lint bench cuts soak crash conformance-table residuals liquidations lock clean
install: $(VENV)/.run
install-test: $(VENV)/.test

# --no-deps: a lock is complete, and what it overrides (pyproject.toml, tool.uv) must stand.
# --without-pip: Debian's python3 lacks ensurepip unless python3-venv is there; the system pip installs into the venv instead.
$(VENV)/bin/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.run: locks/run.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --no-deps --require-hashes -r locks/run.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.test: locks/test.lock $(VENV)/.run
	$(PIP) install --no-deps --require-hashes -r locks/test.lock
	BIN=$(BIN) sh tests/browser/install-chromium
	touch $@

run: install
	exec $(BIN)/perpwire demo

test: install-test lint
	$(BIN)/python -m pytest

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install-test
	$(BIN)/python -m tests.bench --seconds $(SECONDS) --rounds $(ROUNDS)

# Cut every venue connection COUNT times at random moments and compare client, snapshot and truth after each.
cuts: install-test
	$(BIN)/python -m tests.system.cuts --seed $(SEED) --count $(COUNT)

# A bad night: random faults from SEED for SECONDS; ends with one line of JSON.
soak: install-test
	$(BIN)/python -m tests.system.soak --seed $(SEED) --seconds $(SECONDS)

# ROUNDS kills, outages (OUTAGE_S) and full disks from SEED under load; ends with one line of JSON.
crash: ROUNDS = 100
crash: install-test
	$(BIN)/python -m tests.system.crash --seed $(SEED) --rounds $(ROUNDS) --outage-s $(OUTAGE_S)

# COUNT liquidations from SEED, the venues' own fields sent, blanked and wrong; ends with one line of JSON.
liquidations: COUNT = 200
liquidations: install-test
	$(BIN)/python -m tests.system.liquidations --seed $(SEED) --count $(COUNT)

# Books of recordings and of the simulator from SEED, untouched and tampered with; ends with one line of JSON.
verify-books: install-test
	$(BIN)/python -m tests.books --seed $(SEED)

# Write the table of the conformance suite into docs/venues.md.
conformance-table: install-test
	$(BIN)/python -m tests.conformance.table

# The models against captured messages: printed, and written into docs/margin.md. RECORDINGS=dir measures another folder (one with
# a manifest, or recordings of `perpwire replay`) and writes nothing.
residuals: install-test
	$(BIN)/python -m tests.residuals $(if $(RECORDINGS),--recordings $(RECORDINGS),--write)

# Needs `uv` on the PATH. The locks carry hashes and name no registry; what runs is what was tested.
lock:
	uv pip compile -q --universal --generate-hashes --no-annotate --no-header --extra build --extra aster --extra ccxt --extra notify --extra test pyproject.toml -o locks/test.lock
	uv pip compile -q --universal --generate-hashes --no-annotate --no-header --extra build --extra aster -c locks/test.lock pyproject.toml -o locks/run.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
