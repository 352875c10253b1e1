# On a fresh clone all this needs is a Python 3.10 or newer; PYTHON= names another one.
PYTHON ?= python3
VENV ?= .venv
CI_VENV ?= .venv-ci
DOCS_VENV ?= .venv-docs
# More arguments for pytest or the demo: make test ARGS="-k rescue -x"
ARGS ?=
# Where it is set, each of the many processes that a test starts compiles all of us anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint lock docs ci clean venv venv-ci venv-docs \
	lint-ruff lint-format lint-types lint-imports lint-migrations

help:
	@echo "make demo    kill workers in the middle of their tasks, and watch the tasks come back"
	@echo "make test    the fast tests, on SQLite; skips those of a server that does not answer"
	@echo "             and the faults of another database than SQLite"
	@echo "make lint    ruff, mypy, import contracts, migrations (Python 3.12 or newer)"
	@echo "make docs    build the site into site/, and look at what was built (Python 3.12 or newer)"
	@echo "make lock    resolve the lock files anew"
	@echo "make ci      all that CI runs (Debian, root)"
	@echo "make clean   remove what these made"

demo: venv
	@$(VENV)/bin/python -m argus_maint.demo $(ARGS)

test: venv
	@$(VENV)/bin/python -m pytest -n 6 --dist worksteal $(ARGS)

# Apart, so that `make --keep-going lint` tells all that is wrong.
lint: lint-ruff lint-format lint-types lint-imports lint-migrations

lint-ruff: venv-ci
	@$(CI_VENV)/bin/python -m ruff check --quiet .

lint-format: venv-ci
	@$(CI_VENV)/bin/python -m ruff format --check .

lint-types: venv-ci
	@$(CI_VENV)/bin/python -m mypy

lint-imports: venv-ci
	@$(CI_VENV)/bin/lint-imports --no-logo

lint-migrations: venv-ci
	@DJANGO_SETTINGS_MODULE=tests.settings $(CI_VENV)/bin/python -m django \
		makemigrations --check --dry-run argus_maint

# Without -q: with it mkdocs ends with 0 whatever is wrong. The variable silences an
# advertisement of the theme.
docs: venv-docs
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict --site-dir site
	@$(DOCS_VENV)/bin/python -m tools.docs.built site

venv:
	@tools/venv "$(PYTHON)" "$(VENV)" requirements.lock

venv-ci:
	@tools/venv "$(PYTHON)" "$(CI_VENV)" requirements-ci.lock 3.12

venv-docs:
	@tools/venv "$(PYTHON)" "$(DOCS_VENV)" requirements-docs.lock 3.12

# One resolution for all Pythons and platforms; the second lock adds to the first.
COMPILE = .ci/venvs/uv/bin/uv pip compile --quiet --upgrade --universal --generate-hashes \
	--python-version 3.10 --no-emit-index-url --no-emit-find-links \
	--no-annotate --custom-compile-command "make lock"

lock:
	@$(PYTHON) -m venv .ci/venvs/uv
	@.ci/venvs/uv/bin/python -m pip install -qq --disable-pip-version-check uv
	@$(COMPILE) pyproject.toml --group dev -o requirements.lock
	@$(COMPILE) pyproject.toml --extra crontask --group dev --group lint \
		--constraint requirements.lock -o requirements-ci.lock
	@$(COMPILE) pyproject.toml --group docs \
		--constraint requirements.lock -o requirements-docs.lock
	@$(COMPILE) --group backends \
		--constraint requirements-ci.lock -o requirements-backends.lock
	@$(COMPILE) --group mariadb -o requirements-mariadb.lock

ci:
	@.ci/run

clean:
	@rm -rf $(VENV) $(CI_VENV) $(DOCS_VENV) .ci/venvs build dist site .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
