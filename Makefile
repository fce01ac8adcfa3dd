# Everything a developer does, one target each; `make` alone lists them.
#
# The first target that needs it makes .venv, installs the lock and then the project (editable).
# What it wrote there is stamped; nothing is installed again until pyproject.toml, the lock or the
# checkout's place changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
LOCK := requirements.lock
STAMP := $(VENV)/installed
LOG := $(VENV)/install.log

# The newest PyTorch that has a CPU build for every place this runs; `make lock` pins it.
TORCH := 2.13.0

# What a person adds to a command: make test ARGS="-k packing"
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.PHONY: help demo test quick check format wheel test-ranges docs proto proto-check proto-freeze bench bench-page tiny ablations adaptation signatures adapting-ways private claims lock install clean

help: ## List the targets
	@echo "usage: make TARGET"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## Rank for three users, find neighbours and clusters, adapt once; DATA=folder for your ratings
	@$(PY) -m training.demo $(if $(DATA),--data "$(DATA)")

# One process: each worker of pytest-xdist imports PyTorch and transformers anew, about twelve seconds
# of a core, which two cores only win back once the tests take minutes (then: make test WORKERS=2).
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist worksteal
WORKERS ?= 0

test: check proto-check ## Lint, types, generated code and every test
	@$(PYTEST) $(ARGS)

quick: $(STAMP) ## The tests that take less than ten seconds each, and nothing else
	@$(PYTEST) -m "not slow" $(ARGS)

check: $(STAMP) ## Lint, format, types and the contract, changing nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against $(RELEASED)

format: $(STAMP) ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Looks at what an index would show. In an environment of its own: it brings twenty packages that nothing else needs.
TWINE := 7.0.0

wheel: $(STAMP) ## Build the wheel and the source archive into dist/, and check them by twine
	@rm -rf dist && $(PY) -m hatchling build
	@[ -x build/twine/bin/twine ] || { $(PYTHON) -m venv build/twine && build/twine/bin/python -m pip install -q twine==$(TWINE) 2> /dev/null; }
	@build/twine/bin/twine check --strict dist/*

# Needs no .venv. What .ci/ranges runs can be narrowed: make test-ranges ARGS="tests/recsys/scorer".
test-ranges: ## The wheel with the lowest and with the newest versions that pyproject.toml admits: hours, GBs
	@PYTHON=$(PYTHON) .ci/ranges lowest $(ARGS)
	@PYTHON=$(PYTHON) .ci/ranges newest $(ARGS)

docs: $(STAMP) ## Build the documentation into build/docs; offline, and any warning fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/docs/index.html"

# $(call generate,FOLDER): the Python code of proto/, written below FOLDER.
generate = $(PY) -m grpc_tools.protoc -I proto --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) \
	$$(find proto -name '*.proto' | sort)

proto: $(STAMP) ## Generate recsys/v1 from proto/
	@find recsys/v1 -name '*_pb2*' -delete
	@$(call generate,.)

proto-check: $(STAMP) ## Is recsys/v1 what proto/ generates?
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(call generate,"$$fresh"); \
	diff -r --brief -x __init__.py -x __pycache__ "$$fresh/recsys/v1" recsys/v1 \
	|| { echo "recsys/v1 is not what proto/ generates: run \`make proto\` and commit the result" >&2; exit 1; }

# What clients of a release were built from: later versions may add to it, and `make check` refuses all else.
RELEASED := proto/released.txtpb

proto-freeze: $(STAMP) ## At a release: keep proto/ as the contract that later versions only add to
	@$(BIN)/buf breaking --against $(RELEASED)
	@$(BIN)/buf build --exclude-source-info -o $(RELEASED)

# Users among whom neighbours are searched: make bench SIMILAR_ARGS="--sizes 1000000". What is compared
# with it is the extra `bench`; ways that are not installed are left out, in a line each.
SIMILAR_ARGS ?=

bench: $(STAMP) ## Measure packed scoring, learning and the search of similar users; writes bench*.json
	@$(PY) tests/benchmarks/ranking.py $(ARGS)
	@$(PY) tests/benchmarks/learning.py $(ARGS)
	@$(PY) tests/benchmarks/similar_users.py --out bench-similar.json $(SIMILAR_ARGS)

bench-page: $(STAMP) ## Measure the views of the analyst's page on 100,000 users; needs Chromium
	@$(PY) tests/benchmarks/analyst_page.py --out bench-page.json $(ARGS)

# Each step resumes where it was stopped; to begin anew, remove runs/tiny. Learners are a world of seed 1, and a
# few people of each of many other populations; people, prompts and images that the checkpoint is judged on come
# from a world of seed 2. Two processes share the steps that take long.
RUN := runs/tiny
USERS ?= 1200
JUDGES ?= 400
POPULATIONS := $(shell seq 1001 1024)
PROCESSES ?= 2
world_at = RECSYS_DATABASE_URL="sqlite:///$(CURDIR)/$(RUN)/world/recsys.db" \
	RECSYS_BLOB_URL="file://$(CURDIR)/$(RUN)/world/blobs" OMP_NUM_THREADS=1
in_world = $(world_at) $(BIN)/recsys
worlds = $(in_world) world create --users $(USERS) --seed 1 --choices 40; \
	$(foreach seed,$(POPULATIONS),$(in_world) world create --users 50 --seed $(seed) --communities $(seed) \
		--choices 40 --truth "$(CURDIR)/$(RUN)/world/truth-$(seed).npz";) \
	$(in_world) world create --users $(JUDGES) --seed 2 --choices 40
shared_in_world = $(world_at) $(PY) -m torch.distributed.run --standalone --nproc-per-node $(PROCESSES) -m recsys.cli

tiny: $(STAMP) ## Train the checkpoint that is shipped with the package: about two hours
	@$(worlds)
	@$(shared_in_world) pretrain $(RUN) --threads 1
	@$(shared_in_world) train tiny --synthetic --only 's1*' --base $(RUN)/base --out $(RUN) --threads 1
	@$(in_world) evaluate $(RUN)/final --most-users $(JUDGES) --out $(RUN)/report
	@$(PY) -m training.fitting.card $(RUN) $(RUN)/report/report.json recsys/checkpoints/tiny

# The paper's Tab. 5 and 6: the same recipe with one thing changed, each with so few steps that all of them
# end within an hour on two cores, and all compared on the same people.
VARIANTS := full base contrastive tokens5 tokens20
STEPS ?= 300
change_full :=
change_base := --set contrastive_weight=0 --set scorer.num_preference_tokens=0
change_contrastive := --set scorer.num_preference_tokens=0
change_tokens5 := --set scorer.num_preference_tokens=5
change_tokens20 := --set scorer.num_preference_tokens=20
change_all ?=
# No variant begins with the tokens of the base: they are twelve, and the variants differ in that.
uniform := --set token_start=uniform

ablations: $(STAMP) ## Train the variants of Tab. 5 and 6 on the base of `make tiny`, and compare them
	@$(foreach variant,$(VARIANTS),$(in_world) train tiny --synthetic --only 's1-*' --base $(RUN)/base \
		--out $(RUN)/ablations/$(variant) --set first.plan.num_steps=$(STEPS) --set second.plan.num_steps=50 $(uniform) $(change_$(variant)) $(change_all) --threads 1;)
	@$(in_world) evaluate $(RUN)/ablations/full/final --out $(RUN)/ablations/report --no-baselines \
		$(foreach variant,$(filter-out full,$(VARIANTS)),--against $(variant)=$(RUN)/ablations/$(variant)/final)

# What the paper claims, one factor at a time: many runs of minutes, each resumed where it was stopped. Some
# cells: make claims CELLS="centre lora"; what there is and how long it takes: make claims ARGS=--list.
CELLS ?=
claims: $(STAMP) ## Test the paper's claims and write docs/results/claims.md: hours, in pieces
	@OMP_NUM_THREADS=1 $(PY) -m training.claims --folder runs/claims --page docs/results/claims.md --threads 1 \
		$(CELLS) $(ARGS)

# Resumes where it was stopped. Worlds are kept in runs/adaptation/worlds, figures by model version.
adaptation: $(STAMP) ## Compare adapted and not, blended and not, on people of six populations
	@OMP_NUM_THREADS=1 $(PY) tests/benchmarks/adaptation.py $(ARGS)

signatures: $(STAMP) ## Compare what signatures are read from, on the people of `make adaptation`
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.signatures $(ARGS)

# Resumes where it was stopped. One population: make adapting-ways ARGS="--population 102"; to try it: ARGS=--toy.
adapting-ways: $(STAMP) ## Compare other ways of adapting with preference tokens, on one new population
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.adapting_ways $(ARGS)

# Resumes where it was stopped. At 10,000 people: hours (make private ARGS="--users 400").
private: $(STAMP) ## Measure what differential privacy costs when the checkpoint is adapted
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.private $(ARGS)

# A fresh environment, so that nothing installed by hand gets in. The lock names torch without its
# build (+cpu, +cu130) and none of the CUDA packages, for those depend on the machine (see the lock's head).
lock: ## Resolve the dependencies anew and write requirements.lock
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@echo "torch==$(TORCH)" > build/lock/pins.txt
	@echo "Resolving the dependencies of pyproject.toml in build/lock: several minutes"
	@build/lock/bin/python -m pip install -q -c build/lock/pins.txt -e ".[cpu,postgres,train,privacy,analyst,dev]" \
		2> >(grep -v -e "is ignored: it is" >&2)
	@build/lock/bin/python -m pip check
	@{ grep '^#' $(LOCK); build/lock/bin/python -m pip freeze --all --exclude pip --exclude recsys-images \
		| grep -v -E '^(nvidia|cuda|triton|pytorch-triton)' | sed -E 's/\+[A-Za-z0-9.]+$$//'; } > build/lock/new
	@mv build/lock/new $(LOCK) && rm -rf build/lock
	@echo "$(LOCK): $$(grep -c == $(LOCK)) packages"

install: $(STAMP) ## Make .venv and install everything, if that is not done

clean: ## Remove .venv, caches and build outputs; training runs stay
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find storage recsys training tests -name __pycache__ -prune -exec rm -rf {} +

# A checkout that was moved or copied brings a .venv that points to the old place: make it again.
ifneq ($(file < $(STAMP)),$(CURDIR))
.PHONY: $(STAMP)
endif

# pip's report goes to a log; a person sees a dot for each package. Not by awk: mawk, Debian's, reads a block of
# lines before it tells of the first. Without the project's own dependencies (--no-deps) and without build
# isolation, nothing comes in that the lock does not name, but for the CUDA packages where torch's build for this
# machine asks for them. What was installed under the package's former name, recsys, has its commands a second time.
$(STAMP): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
		echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2> /dev/null || echo missing):" \
			"name one with \`make PYTHON=python3.11 ...\`" >&2; exit 1; }
	@rm -f $(STAMP)
	@grep -qsF "$(CURDIR)/$(VENV)" $(BIN)/activate && $(PY) -m pip --version > /dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing $$(grep -c == $(LOCK)) locked packages into $(VENV): a minute or two"
	@{ $(PY) -m pip uninstall -y recsys; $(PY) -m pip install -r $(LOCK) \
		&& $(PY) -m pip install --no-deps --no-build-isolation -e . ; } 2>&1 \
		| tee $(LOG) \
		| while read -r line; do case $$line in \
			Collecting* | Processing* | Requirement*) printf . ;; \
			Installing*) printf '%s' "$${unpacking- unpacking }"; unpacking= ;; \
		esac; done \
		|| { echo; echo "The installation failed; the end of $(LOG):" >&2; \
			grep -v -E "^(Looking|Collecting|Processing|Requirement| )|is ignored: it is" $(LOG) \
				| tail -n 15 >&2; exit 1; }
	@echo "done"
	@printf '%s\n' "$(CURDIR)" > $(STAMP)
