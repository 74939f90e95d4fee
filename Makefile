# The verbs of the workshop. `make serve` and `make test` need only Python 3.11+, make and git.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: serve demo test check bench-intake bench-delivery attack-intake torture lock screenshots format clean

serve: .venv/.installed
	@exec $(BIN)/python manage.py serve

demo: .venv/.installed
	@VAR=$${VAR:-var/demo} exec $(BIN)/python manage.py demo

test: .venv/.installed-dev
	@$(BIN)/python tests/browser/install.py
	@$(BIN)/python tests/payloads.py
	@$(BIN)/python tests/brokers.py
	@$(BIN)/python -m pytest -n auto --dist loadgroup

check: .venv/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@git ls-files -z --cached --others --exclude-standard -- 'templates/*.html' | xargs -0 -r $(BIN)/djade --check --target-version 5.2
	@PYTHONPATH=. $(BIN)/lint-imports
	@$(BIN)/mypy
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@PORTAL_URL=https://portcullis.example.com $(BIN)/python manage.py check --deploy --fail-level WARNING
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

bench-intake: .venv/.installed-dev
	@$(BIN)/python -m bench.intake

bench-delivery: .venv/.installed-dev
	@$(BIN)/python -m bench.delivery

attack-intake: .venv/.installed-dev
	@$(BIN)/python tests/payloads.py >&2
	@$(BIN)/python -m tests.attack

torture: .venv/.installed-dev
	@$(BIN)/python -m tests.torture

format: .venv/.installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@git ls-files -z --cached --others --exclude-standard -- 'templates/*.html' | xargs -0 -r $(BIN)/djade --target-version 5.2

screenshots: .venv/.installed-dev
	@$(BIN)/python tests/browser/install.py
	@$(BIN)/python -m tests.browser.screenshots

LOCK := --quiet --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: .venv/.installed-dev
	@$(BIN)/pip-compile $(LOCK) --output-file=requirements.txt requirements.in
	@$(BIN)/pip-compile $(LOCK) --output-file=requirements-dev.txt requirements-dev.in

# Keeps var/: it holds the data and the keys.
clean:
	@rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache staticfiles
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Portcullis needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing: install it (on Debian: apt-get install python3-venv)."; rm -rf .venv; exit 1; }

.venv/.installed: requirements.txt | .venv/bin/python
	@echo "Installing requirements.txt into .venv ..."
	@$(PIP) install --requirement requirements.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed | .venv/bin/python
	@echo "Installing requirements-dev.txt into .venv ..."
	@$(PIP) install --requirement requirements-dev.txt
	@touch $@
