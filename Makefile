# Everything that is done with a checkout. `make` alone lists it; PYTHON=… chooses the interpreter of .venv.

VENV := .venv
PYTHON_OF_VENV := $(VENV)/bin/python
PIP := $(PYTHON_OF_VENV) -m pip --quiet --disable-pip-version-check
READY := $(VENV)/.ready
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz bench interop format lock clean $(VENV)

help:
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

demo: $(VENV) ## a campaign of 10,000 messages through an embedded broker, simulated operators and WhatsApp
	$(VENV)/bin/recado demo

test: $(VENV) ## all tests; the broker and the store come with .venv
	$(PYTHON_OF_VENV) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not alone"
	$(PYTHON_OF_VENV) -m pytest -m alone

check: $(VENV) ## lint, format, types, directions of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTHON_OF_VENV) -m pytest --quiet tests/test_imports.py

fuzz: $(VENV) ## ten million inputs that nobody thought of for each decoder (hours; docs/robustness.md)
	@$(PYTHON_OF_VENV) -c 'import atheris' 2>/dev/null || $(PIP) install "atheris>=3.0,<3.2"
	$(PYTHON_OF_VENV) -m tests.fuzz

interop: $(VENV) ## talk with the SMPP libraries of others; fetches them by npm and Maven, and skips what is not there
	$(PYTHON_OF_VENV) -m tests.interop.fetch
	$(PYTHON_OF_VENV) -m pytest tests/interop

bench: $(VENV) ## how fast everything is on this machine: tables, .cache/bench.json, .cache/bench.html
	$(PYTHON_OF_VENV) -m benchmarks.suite

format: $(VENV) ## rewrite the code as `check` wants it
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: ## pin the newest versions that pyproject.toml allows, for every platform (needs uv)
	printf 'hatchling\neditables\n' | UV_CUSTOM_COMPILE_COMMAND='make lock' uv pip compile --quiet --universal \
		--python-version 3.11 --upgrade --extra embedded --extra rcs --extra mail --extra dev --output-file requirements.lock pyproject.toml -

clean: ## remove what was installed, downloaded or cached here
	rm -rf $(VENV) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV): $(READY)

$(READY): requirements.lock pyproject.toml .ci/venv
	@.ci/venv $(VENV)
	@echo "Installing the pinned requirements into $(VENV) (once)"
	@$(PIP) install --no-compile --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@
