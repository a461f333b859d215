# make demo    the whole chain on this computer, on generated data
# make lab     JupyterLab in this folder, with notebook 1 open
# make quick   the tests that take no more than a few seconds each: half a minute
# make lint    style, types, and whether the built notebooks are as their sources say
# make test    lint, all tests with the branches that they cover, and the notebooks built and executed
# make gallery  docs/gallery: every notebook executed on the demo's data; ten minutes
# make soak    the long forms of the tests: hours
#
# Each makes .venv on its first run. TORCH=cpu takes PyTorch's CPU build: `make demo TORCH=cpu`.

PYTHON ?= python3
TORCH ?= default
BIN := .venv/bin
STAMP := .venv/installed
PINS := housebrain_core/constraints.txt

.PHONY: demo lab quick lint test soak notebooks gallery clean

demo: $(STAMP)
	$(BIN)/housebrain demo --overwrite

lab: $(STAMP)
	@test -x $(BIN)/jupyter-lab || $(BIN)/pip install --quiet --disable-pip-version-check -c $(PINS) -e '.[lab]'
	$(BIN)/jupyter lab notebooks/rendered/local/01_split.ipynb

quick: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not soak" -n 2 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pyright -p pyrightconfig.strict.json
	$(BIN)/python build_notebooks.py --check

test: lint
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadgroup --cov --cov-report=term

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak

notebooks: $(STAMP)
	$(BIN)/python build_notebooks.py

gallery: $(STAMP)
	$(BIN)/python build_gallery.py

clean:
	rm -rf .venv build housebrain_demo .coverage .coverage.*

# The stamp is newer than both files as long as nothing has to be installed.
$(STAMP): pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit(f"HouseBrain needs Python 3.11 to 3.13; $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	@echo "installing into .venv; this takes a few minutes and, with the CUDA build of PyTorch, 3 GB of downloads"
	$(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(PINS) uv
	$(BIN)/uv pip install --quiet --python .venv --torch-backend=cpu -c $(PINS) torch
endif
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(PINS) -e '.[dev,constrained]'
	@touch $@
