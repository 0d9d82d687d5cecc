# Everything runs in .venv, which need not be activated; PYTHON names the Python 3.11 that creates it.
PYTHON ?= python3.11
PY := .venv/bin/python
# OpenMMLab's own releases, on the oldest torch that the project is tested with
PY_OPENMMLAB := .venv-openmmlab/bin/python
DEMO := configs/yolo_ols_demo.py
DEMO_DIR := work_dirs/yolo_ols_demo
# Further arguments for pytest, as in `make test ARGS='-k hook'`
ARGS ?=
# The documentation has a small environment of its own: no torch, no hosts.
DOCS := .venv-docs
# What the examples for other training loops need besides .venv; requirements/loops.txt says why it is not in there.
LOOPS := .venv-loops
# MMYOLO, whose detectors some tests train; requirements/mmyolo.txt says why it is not in .venv either.
MMYOLO := .venv-mmyolo

.DEFAULT_GOAL := help
.PHONY: help python setup setup-openmmlab demo test test-fast test-openmmlab test-loops test-mmyolo smoke check format docs clean

help:  ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s  %s\n", $$1, $$2}' Makefile

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "error: '$(PYTHON)' does not run, or is not Python 3.11. Remedy: install Python 3.11, or name one: make PYTHON=/path/to/python3.11"; exit 1; }

setup: python  ## Make .venv, or bring it up to date (the first time takes 3 to 5 minutes, half of them to compile mmcv)
	@$(PYTHON) tools/setup_env.py

setup-openmmlab: python  ## Make .venv-openmmlab: OpenMMLab's own releases and torch 2.1
	@$(PYTHON) tools/setup_env.py openmmlab

demo: setup  ## Train a small detector with OLS on drawn images, and report what it learned
	$(PY) tools/make_demo_data.py
	$(PY) tools/train.py $(DEMO) --resume --auto-amp
	$(PY) tools/test.py $(DEMO) "$$(cat $(DEMO_DIR)/last_checkpoint)"
	$(PY) tools/plot_soft_labels.py "$$(cat $(DEMO_DIR)/last_checkpoint)" --groups apple,peach,plum car,van,bus cat,dog,fox
	$(PY) tools/report.py $(DEMO_DIR)

test: setup  ## Run all tests (8 minutes on 2 cores)
	$(PY) -m pytest $(ARGS)

test-fast: setup  ## Run the tests that are not marked as slow (up to 2 minutes)
	$(PY) -m pytest -m 'not slow' $(ARGS)

test-openmmlab: setup-openmmlab  ## Run all tests with OpenMMLab's own releases and torch 2.1
	$(PY_OPENMMLAB) -m pytest $(ARGS)

test-loops: setup $(LOOPS)/installed  ## Run the examples for Lightning, timm, Accelerate and Transformers
	PYTHONPATH="$(CURDIR)/$(LOOPS)" $(PY) -m pytest tests/test_examples $(ARGS)

test-mmyolo: setup $(MMYOLO)/installed  ## Run the tests of MMYOLO's detectors
	PYTHONPATH="$(CURDIR)/$(MMYOLO)" $(PY) -m pytest tests/test_mmyolo.py tests/test_cli/test_mmyolo_tools.py $(ARGS)

$(LOOPS)/installed $(MMYOLO)/installed: .venv-%/installed: requirements/%.txt | setup
	rm -rf $(@D)
	$(PY) -m pip --disable-pip-version-check install --quiet --no-deps --target $(@D) --requirement $<
	touch $@

smoke: setup  ## Run a few cells of the paper's tables for a few steps: each method, network and table (a minute)
	$(PY) tools/reproduce.py run --scale smoke --each-kind --jobs 2

check: setup  ## Check style, format and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: setup  ## Fix style and format
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

docs: $(DOCS)/installed  ## Build the documentation's site into site/
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@echo 'Open site/index.html, or for the search as well: python3 -m http.server --directory site'

# The stamp is newer than the lock only if all of the lock was installed.
$(DOCS)/installed: requirements/docs.txt | python
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --requirement $<
	touch $@

clean:  ## Remove environments, builds and caches; data, work_dirs and the wheel cache stay
	rm -rf .venv .venv-openmmlab $(DOCS) $(LOOPS) $(MMYOLO) site build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
