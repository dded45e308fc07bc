# Everything a person or a CI runs. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
OUT ?= results/demo$(if $(QUICK),-quick)
SCENARIO := scenarios/demo$(if $(QUICK),-quick).toml

.PHONY: help setup demo test test-all test-fast check bench wheel deb dist docs man lock licences fault-matrix fuzz soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BUILT) ## install what is needed (system packages when root, .venv, guest images, compiled kernels)

$(READY): pyproject.toml requirements.lock hatch_build.py scripts/setup-system.sh scripts/setup.sh
	scripts/setup-system.sh
	PYTHON=$(PYTHON) scripts/setup.sh $(VENV)
	@touch $@

# Again after an edit: kernels built of other sources are not used. Without a compiler Numba compiles when called.
$(BUILT): $(READY) $(wildcard $(addsuffix /*.py,src/pagethrift $(addprefix src/pagethrift/,kernels model stream content engine simulator strategies)))
	$(BIN)/python -m pagethrift.build || true
	@touch $@

demo: setup ## the main job: a memcached guest migrates in five modes, side by side (QUICK=1: a third of the size)
	@rm -f $(OUT)/*.json
	$(BIN)/pagethrift lab compare $(SCENARIO) --out $(OUT)

# Three workers also on two cores: most tests wait for QEMUs. In the order of collection, in which the long files come
# first: in xdist's own they would come last, one after the other.
test: setup ## tests: unit, property, clean installs, real QEMUs and libvirt, migrations of a real guest
	$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not long"

test-all: setup ## the same on all three QEMUs: 7.2, 10.0 and 11.1, which is fetched first (35 MB), both libvirts, and the Debian package
	$(BIN)/python -c 'from pagethrift.lab.guest.packages import qemu; qemu("11.1")'
	PAGETHRIFT_QEMUS=7.2,10.0,11.1 PAGETHRIFT_LIBVIRTS=9.0,11.3 $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder

test-fast: setup ## while you work, under a minute: unit and property tests, few examples, nothing slow
	PAGETHRIFT_EXAMPLES=0.1 $(BIN)/pytest -q -n 3 --dist loadfile -m "not slow" tests/unit tests/property

check: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check src tests scripts contrib
	$(BIN)/ruff format --check src tests scripts contrib
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## speed of the data path, side by side with cat
	$(BIN)/python -m scripts.bench --out results/bench.json

fault-matrix: setup ## every fault in every phase of a migration, N=1 times, on real QEMUs (25 minutes); writes docs/fault-matrix.md
	FAULT_MATRIX_REPEAT=$(or $(N),1) FAULT_MATRIX_TABLE=docs/fault-matrix.md $(BIN)/pytest -q -p no:cacheprovider tests/qemu/live/test_fault_matrix.py

fuzz: setup ## hostile input for everything that parses; SECONDS=60 for each target, findings in results/fuzz
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

soak: setup ## N=200 migrations of one busy guest from QEMU to QEMU: it arrives whole, nothing that pagethrift holds grows
	$(BIN)/python -m tests.qemu.soak --migrations $(or $(N),200) --out results/soak.json

# By what the lock installed, so that nothing is fetched. An sdist, and a wheel made of it.
wheel man deb: export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),$(shell date +%s))
wheel: setup ## dist/: the sources, and a wheel with kernels for this Python and any x86-64-v3 processor
	PAGETHRIFT_KERNELS=1 $(BIN)/python -m build --no-isolation --outdir dist

deb: setup ## build/pagethrift_VERSION_amd64.deb: a Debian package for this Python, without root and without a download
	$(BIN)/python -m scripts.deb

dist: wheel ## the same as wheel, with a check of what is published: metadata, licence, sums
	$(BIN)/python -m scripts.distribution dist

# Of what the lock installed and nothing else; a warning is an error.
docs: setup ## build/site: the documentation as a web site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

man: setup ## build/man and build/completions: manual pages, and completion for bash, zsh and fish
	$(BIN)/python -m scripts.manual

# Keeps the versions that still fit; UPGRADE=--upgrade takes the newest. The file names no registry and no path.
lock: setup ## requirements.lock anew, after an edit of the dependencies in pyproject.toml
	$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --extra dev --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url $(UPGRADE) pyproject.toml --output-file requirements.lock

licences: setup ## docs/licences.md anew, after an edit of requirements.lock
	$(BIN)/python -m scripts.licences

clean: ## remove the environment and everything made by tests and demos
	rm -rf $(VENV) results build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
