# Each target makes .venv and installs what it needs; a second run installs nothing. No activated environment is needed.
# make test PYTHON=python3.13   chooses the interpreter that makes .venv.

.POSIX:
.PHONY: help demo test check bench docs clean
PYTHON ?=
BIN = .venv/bin
WITHOUT_NETWORK = HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false

help:
	@echo "make demo    make phantom studies, train by SFT, improve by RL, evaluate, write runs/demo/index.html"
	@echo "make test    run the tests with coverage, the doctests and the examples"
	@echo "make check   lint, types and the direction of imports, in under a minute"
	@echo "make bench   measure speed against plain scripts on this machine"
	@echo "make docs    check the documentation: links, commands, code"
	@echo "make clean   remove caches and .venv (runs/ is yours and stays)"

demo: .venv/.installed
	@$(BIN)/wetread demo $(ARGS)

# One thread a worker: two workers with torch's default of one thread per core would fight for the cores.
test: .venv/.installed-dev
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(WITHOUT_NETWORK) $(BIN)/python -m pytest -n 2 --dist loadfile \
		--cov --cov-report=term:skip-covered $(ARGS)

check: .venv/.installed-dev
	@$(BIN)/ruff check src tests $$(ls -d bench examples 2>/dev/null)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.installed-dev
	@$(WITHOUT_NETWORK) $(BIN)/python bench/run.py $(ARGS)

docs: .venv/.installed-dev
	@$(WITHOUT_NETWORK) $(BIN)/python -m pytest -q tests/test_docs.py $(ARGS)

clean:
	rm -rf .venv build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis src/*.egg-info
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamps carry the time of the last install; pip runs again only when the pins or the project file are newer.
.venv/.installed: .venv/.made constraints.txt pyproject.toml
	@echo "installing wetread into .venv (the first time takes a few minutes)"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.made constraints.txt pyproject.toml
	@echo "installing wetread and its development tools into .venv (the first time takes a few minutes)"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@ .venv/.installed

.venv/.made:
	@set -e; \
	if .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		touch $@; exit 0; \
	fi; \
	found=; \
	for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			found=$$candidate; break; \
		fi; \
		if [ -n "$(PYTHON)" ]; then echo "$(PYTHON) is no Python 3.11 or newer; name another: make PYTHON=/path/to/python3" >&2; exit 3; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "no Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 3; \
	fi; \
	if ! "$$found" -m venv .venv >/dev/null 2>&1; then \
		echo "$$found cannot make .venv; install its venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; \
		exit 3; \
	fi; \
	touch $@
