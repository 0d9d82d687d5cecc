# Everything runs in .venv, without activating it; PYTHON names the Python 3.11 that makes it.
PYTHON ?= python3.11
PY := .venv/bin/python
DEMO := configs/yolo_ols_demo.py
DEMO_DIR := work_dirs/yolo_ols_demo
# More arguments for pytest, as in `make test ARGS='-k hook'`
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format clean

help:  ## Print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup:  ## Make .venv, or bring it up to date (the first time takes minutes, mostly to compile mmcv)
	@$(PYTHON) -c '' || { echo "error: cannot run '$(PYTHON)'. Remedy: install Python 3.11, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) tools/setup_env.py

demo: setup  ## Train a small detector with OLS on made-up data, and report what it learned
	$(PY) tools/make_demo_data.py
	$(PY) tools/train.py $(DEMO) --resume
	$(PY) tools/test.py $(DEMO) "$$(cat $(DEMO_DIR)/last_checkpoint)"
	$(PY) tools/plot_soft_labels.py "$$(cat $(DEMO_DIR)/last_checkpoint)" --groups apple,peach,plum car,van,bus cat,dog,fox
	$(PY) tools/report.py $(DEMO_DIR)

test: setup  ## Run the tests and the doctests
	$(PY) -m pytest $(ARGS)

check: setup  ## Check style, format and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: setup  ## Fix style and format
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

clean:  ## Remove .venv, builds and caches; data, work_dirs and the wheel cache stay
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
