# Two commands on a fresh machine: `make train` and `make test`. Python 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help train test docs notebooks lint check-package clean

help:
	@echo "make train          set up, train CueCo on the digits (no download) and print its scores"
	@echo "make test           set up and run all tests"
	@echo "make docs           build the documentation: docs/_build/index.html"
	@echo "make notebooks      run the notebooks of docs/notebooks, and keep what they show"
	@echo "make lint           check format and style"
	@echo "make check-package  build the wheel and the source archive in dist/, and check both"
	@echo "make clean          remove the virtual environment and the digits run"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

train: .venv/installed
	$(BIN)/python -m cueco_tf.train --dataset digits --run-dir runs/digits --resume

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

docs: .venv/installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --builder html docs docs/_build

notebooks: .venv/installed
	$(BIN)/python docs/notebooks/execute.py docs/notebooks/*.ipynb

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check-package: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

clean:
	rm -rf .venv dist runs/digits docs/_build
