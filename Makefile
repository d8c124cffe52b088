# Two commands set up a fresh machine: `make demo` installs and runs the main job, `make test` installs and passes the tests.
# PYTHON picks the interpreter (3.11 or newer); everything is installed into .venv, once: a second call installs nothing.
# `make test PYTHON=python3.13 VENV=.venv-3.13` tests another one beside it, for which pip may choose newer packages.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1
# Empty: Python keeps what it compiles, also where the environment forbids it, as images of containers do. The tests start
# hundreds of processes, and each would compile this program anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test fast chaos azurite lint lowest parity bench gpu-bundle clean

demo: $(VENV)/.installed
	$(BIN)/python -m pipeline.run conf=demo

# Processes that take whole files: servers and reference networks are started once for a file. One more than the cores of
# a small machine, because a third of the suite waits for Ray, for servers and for processes that it kills.
PYTEST := -m pytest --numprocesses 3 --dist loadfile

# The linters run beside the tests, on the time that these wait. Both have to pass. What the linters say is shown at the
# end, if they complain.
test: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory lint > $(VENV)/lint.log 2>&1 & lint=$$!; \
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS); tests=$$?; \
	if wait $$lint; then echo "make lint: passed"; else cat $(VENV)/lint.log; echo "make lint: failed"; tests=1; fi; \
	exit $$tests

# The fast core: what a developer runs after each change, without the linters. Two processes, because few of these tests
# wait and each process takes 8 s of a core to import and collect. What took longest is named, so that it does not stay.
fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not chaos" --durations 10 $(PYTEST_ARGS)

# Injects faults into whole jobs with Ray and prints a table of what they cost. It takes a quarter of an hour on two fast
# cores. Each test has a time limit of its own; the whole run has none, because a slower processor needs longer.
chaos: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m chaos --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

# The tests of Azure, with a driver that is killed, against Azurite, Microsoft's emulator, which npm installs (360 MB): 5
# minutes. `make test` runs them against a server of the tests' own, because a machine with Python alone has no npm.
AZURITE := $(VENV)/azurite
azurite: $(VENV)/.installed-test
	npm install --prefix $(AZURITE) --no-audit --no-fund --silent azurite@3.37.0
	MASKMILL_AZURITE=$(CURDIR)/$(AZURITE)/node_modules/.bin/azurite-blob $(BIN)/python -m pytest -k azure -m "chaos or not chaos" \
		tests/pipeline/storage tests/pipeline/driver/test_jobs_on_clouds.py tests/faults/test_chaos_clouds.py $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The demo and the fast core in an environment of their own with the lowest versions that pyproject.toml allows: 7 GB.
LOWEST := .venv-lowest
lowest:
	test -x $(LOWEST)/bin/python || "$(PYTHON)" -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/support/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/constraints.txt --editable ".[test]"
	SAM2_BUILD_CUDA=0 $(LOWEST)/bin/python -m pip install --quiet --no-deps --no-build-isolation sam2==1.1.0
	$(LOWEST)/bin/python -m pip install --quiet --no-deps trackeval==1.3.0 vos-benchmark==0.1.0
	$(LOWEST)/bin/python -m pip install --quiet --no-deps ultralytics==8.4.190 datumaro==1.13.12 label-studio-sdk==2.1.2 \
		voxel51-eta==0.17.0
	$(LOWEST)/bin/python -m pipeline.run conf=demo
	$(LOWEST)/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not chaos" $(PYTEST_ARGS)

# The full-size comparison with the reference implementations; prints the table of gaps.
parity: $(VENV)/.installed-test
	$(BIN)/python -m tests.parity_report

# Ours against both references on this machine, about 25 minutes on two cores: make bench BENCH_ARGS="--only rle decode"
bench: $(VENV)/.installed-test
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

# Wheels for the check of a GPU on a machine that has torch and cannot install the rest: tests/bench/gpu/bundle.py
gpu-bundle: $(VENV)/.installed-test
	$(BIN)/python -m tests.bench.gpu.bundle $(BUNDLE_ARGS)

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "maskmill needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "maskmill needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	touch $@

# With the server of a review, two small packages, because the demo's last line says how to start it.
$(VENV)/.installed: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[review]"
	touch $@

# pip would compile 24,000 modules on one core, which takes a third of the installation. All cores compile those that tests
# import; Python compiles another one when it is imported for the first time.
NOT_IMPORTED := /(tests?|label_studio_sdk|fontTools|azure)/|/transformers/models/[^/]+/|/ray/(rllib|tune|train|serve|data)/
PIP_TEST := $(BIN)/python -m pip install --quiet --no-compile

# sam2 is a reference of the tests only. Its CUDA extension is not needed and its requirements are in the extra.
# trackeval, vos-benchmark and ultralytics ask for opencv-python, which would overwrite opencv-python-headless. datumaro
# asks for older versions of pyarrow, pandas and Pillow than it needs to read pictures and polygons, label-studio-sdk for an
# older opencv-python-headless.
$(VENV)/.installed-test: $(VENV)/.created pyproject.toml
	$(PIP_TEST) --editable ".[test]"
	SAM2_BUILD_CUDA=0 $(PIP_TEST) --no-deps --no-build-isolation sam2==1.1.0 trackeval==1.3.0 vos-benchmark==0.1.0 \
		ultralytics==8.4.190 datumaro==1.13.12 label-studio-sdk==2.1.2 voxel51-eta==0.17.0
	$(BIN)/python -m compileall -qq -j 0 -x '$(NOT_IMPORTED)' $(VENV)/lib >/dev/null || true
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
