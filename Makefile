.DEFAULT_GOAL := help
# `make train-character nova` is `make train-character NAME=nova`
ifeq ($(firstword $(MAKECMDGOALS)),train-character)
NAME ?= $(word 2,$(MAKECMDGOALS))
$(if $(NAME),,$(error say whom: make train-character NAME=nova))
$(wordlist 2,9,$(MAKECMDGOALS)): ; @:
endif
.PHONY: help setup run demo train train-character bench test test-fast test-parity test-gpu check lint types imports protos-check \
        fix protos manifests images up down sdk-build ready-run ready-dev ready-parity ready-ray

PYTHON ?= python3
VENV   ?= .venv
BIN    ?= $(VENV)/bin
export VENV
# onnxruntime reports to its maker otherwise
export ORT_DISABLE_TELEMETRY = 1

##@ Start here
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
setup: ready-dev ## Make .venv with everything in it (make run and make test do it by themselves)

##@ Run
run: ready-run ## Start the graph on this machine: http://127.0.0.1:8000, Ctrl-C ends it
	@$(BIN)/python -m services.run
demo: ready-run ## Two videos into demo/: a text said, a question answered (starts a server if none runs)
	@$(BIN)/python scripts/demo.py --start
train: ready-dev ## Repeat the training of the default avatar (hours; goes on where it stopped)
	@$(BIN)/python -m training.train
train-character: ready-dev ## Make an avatar of your own from characters/NAME.toml (minutes): make train-character NAME=nova
	@$(BIN)/python -m training.character train $(NAME) $(if $(AVATARS_DIR),--avatars $(AVATARS_DIR))
bench: ready-dev ## Measure, and write bench/RESULTS.md
	@$(BIN)/python -m bench

##@ Check
test: ready-dev check ready-parity ready-ray ## Everything: set-up, static checks, every test that needs no GPU
	@$(BIN)/python -m pytest -m "not gpu"
test-fast: ready-dev ## The tests of about a minute: unit and streaming
	@$(BIN)/python -m pytest -m "unit or streaming"
test-parity: ready-dev ready-parity ## Ours against public implementations of the large models
	@$(BIN)/python -m pytest -m parity
test-gpu: ready-dev ## The tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu
check: lint types imports protos-check ## Static checks
lint: ready-dev ## ruff: format and rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
types: ready-dev ## mypy, strict
	@$(BIN)/mypy
imports: ready-dev ## Who may import whom
	@$(BIN)/lint-imports
protos-check: ready-dev ## buf lint, and that the committed stubs are those of protos/
	@$(BIN)/buf lint protos
	@$(BIN)/python scripts/gen_protos.py --check

##@ Change
fix: ready-dev ## Format, then mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
protos: ready-dev ## Generate the stubs in sdk/talkingmachines_api from protos/
	@$(BIN)/python scripts/gen_protos.py
manifests: ready-dev ## Render k8s/base/rayservice.yaml from ray_config.yaml
	@$(BIN)/python scripts/render_manifests.py

##@ Ship
images: ## Build the container image (needs Docker)
	@docker build -f deploy/Dockerfile -t talkingmachines:dev .
up: ## Start the container image with its Valkey (needs Docker)
	@test -f deploy/keys.toml || { $(BIN)/python -m services.keys add me --file deploy/keys.toml && chmod 644 deploy/keys.toml; } # the container's user reads it too
	@docker compose -f deploy/compose.yaml up --build --detach
down: ## Stop what `make up` started
	@docker compose -f deploy/compose.yaml down
sdk-build: ready-dev ## The SDK's wheel, in dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist ./sdk && ls dist

ready-run:
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) not found: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) scripts/setup.py run
ready-dev:
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) not found: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) scripts/setup.py dev
# What tests compare with or need besides lies beside the packages that the product sees. Without it
# they say that they were not run; in CI that is a failure. $(1): a folder of tests, and of .venv
beside = cmp -s tests/$(1)/requirements.txt $(VENV)/$(1)/requirements.txt || { \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    --upgrade --target $(VENV)/$(1) -r tests/$(1)/requirements.txt && \
	  install -D tests/$(1)/requirements.txt $(VENV)/$(1)/requirements.txt; } || \
	  echo "setup: tests/$(1) are NOT run: pip could not install tests/$(1)/requirements.txt"
ready-parity: ready-dev
	@$(call beside,parity)
ready-ray: ready-dev
	@$(call beside,ray_train)
