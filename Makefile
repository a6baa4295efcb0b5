# The tasks of a developer. `make help` lists the targets.
SHELL := /bin/bash
VENV ?= .venv
export VENV
RUN := VIRTUAL_ENV="$(abspath $(VENV))" PATH="$(abspath $(VENV))/bin:$$PATH"
PY_SOURCES := python tests benches notebooks docs/tools
# Tests in up to four processes, one for each core; each needs about 3 GB.
PYTEST := pytest --numprocesses auto --maxprocesses 4 --dist worksteal
MKDOCS := NO_MKDOCS_2_WARNING=1 mkdocs

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint format docs docs-serve gpu bench bench-long evidence models wheel clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## create the virtual environment and build the extension; other targets do this first
	@.ci/setup

demo: setup ## train a ResNet at 1:1 and 2:1, compare them, and save a plot
	@$(RUN) proprelu demo

test: setup ## run all tests, Rust and Python
	@cargo test --quiet --no-default-features
	@$(RUN) $(PYTEST)

test-long: setup ## run all tests, including those that take minutes
	@cargo test --quiet --no-default-features
	@$(RUN) $(PYTEST) -m "slow or not slow"

lint: setup ## rustfmt, clippy, ruff, mypy --strict, the guide; no source is changed
	@cargo fmt --check
	@$(RUN) cargo clippy --quiet --release -- -D warnings
	@cargo clippy --quiet --no-default-features --all-targets -- -D warnings
	@$(RUN) ruff check $(wildcard $(PY_SOURCES))
	@$(RUN) ruff format --check $(wildcard $(PY_SOURCES))
	@$(RUN) mypy
	@$(RUN) $(MKDOCS) build --strict --site-dir build/site 2>&1 | grep -v '^INFO'; exit $${PIPESTATUS[0]}

format: setup ## format the sources with rustfmt and ruff
	@cargo fmt
	@$(RUN) ruff check --fix $(wildcard $(PY_SOURCES))
	@$(RUN) ruff format $(wildcard $(PY_SOURCES))

docs: setup ## the guide as a website, in site/
	@$(RUN) $(MKDOCS) build --strict
	@echo "open $(CURDIR)/site/index.html"

docs-serve: setup ## the guide in a browser, built again after each change
	@$(RUN) $(MKDOCS) serve

gpu: setup ## on a machine with a GPU: run the CUDA tests, then the GPU benchmarks
	@$(RUN) python -c "import torch; torch.cuda.is_available() or exit('there is no GPU here')"
	@$(RUN) pytest tests/python/kernels tests/python/cuda tests/python/backend
	@if ! command -v compute-sanitizer > /dev/null; then \
	  echo "compute-sanitizer is not on the PATH: memory and races are not checked" >&2; \
	else for tool in memcheck racecheck; do \
	  $(RUN) compute-sanitizer --tool $$tool --error-exitcode 1 python -m pytest tests/python/kernels || exit 1; \
	done; fi
	@$(RUN) python benches/cuda.py
	@$(RUN) python benches/cuda_time_to_accuracy.py

bench: setup ## compare training steps and layers with other systems; an hour on an idle machine
	@$(RUN) python benches/train_step.py
	@$(RUN) python benches/layers.py

bench-long: bench ## also measure accuracies and times to accuracy; takes hours
	@$(RUN) python benches/accuracy.py
	@$(RUN) python benches/time_to_accuracy.py
	@$(RUN) python benches/pretrained.py
	@$(RUN) python benches/methods.py
	@$(RUN) python benches/depth.py

evidence: setup ## compare ratios on Fashion-MNIST with several seeds; hours, continues where it was
	@$(RUN) python benches/evidence.py

models: setup ## convert the networks of torchvision and timm, write docs/results/models.md; minutes
	@$(RUN) python benches/models.py

wheel: setup ## build a wheel in dist/
	@$(RUN) maturin build --release --out dist

clean: ## remove all build products, but not the virtual environment
	rm -rf target build dist runs site .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -f python/proprelu/*.so
	find python tests benches notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## also remove the virtual environment
	rm -rf "$(VENV)"
