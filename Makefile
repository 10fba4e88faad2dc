# The front door: `make test-in-vm` in a fresh checkout does everything. Standard output is for the paths of
# artifacts, so every recipe is silent. Options are variables: make test-in-vm PROJECT="my project" VM_DEBUG=1

PYTHON  ?= python3
# Each file in recipes/ is a target of its own, so that adding a recipe means adding one file.
RECIPES := $(subst _,-,$(filter-out __init__ test_in_vm,$(patsubst recipes/%.py,%,$(wildcard recipes/*.py))))

MAKEFLAGS += --no-print-directory
# What belongs to the user's own Python is nothing to that of .venv.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONUSERBASE
INV := .venv/bin/inv

# $(call quote,TEXT): one word for the shell, whatever is in it. $(call option,FLAG,TEXT): nothing if TEXT is empty.
quote  = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quote,$(2)))
on     = $(filter-out 0 no false,$(1))

OPTIONS = $(call option,--image,$(IMAGE)) $(call option,--kernel,$(KERNEL)) $(call option,--out,$(OUT)) \
	$(if $(call on,$(VM_DEBUG)),--shell) $(if $(call on,$(KEEP)),--keep) $(if $(call on,$(FREEZE)),--freeze) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help
help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 } \
		/^## / { print substr($$0, 4) }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## Make this host ready: system packages and .venv; EXTRAS=ec2 adds what machines on Amazon EC2 need
	@$(PYTHON) -I vmtasks/bootstrap.py $(call quote,$(EXTRAS))

.PHONY: test-in-vm
test-in-vm: setup ## Build, package, install and test PROJECT in clean machines
	@$(INV) test-in-vm --source $(call quote,$(or $(PROJECT),$(SOURCE),examples/hello)) $(OPTIONS)

.PHONY: $(RECIPES)
$(RECIPES): setup
	@$(INV) $@ $(call option,--source,$(or $(SOURCE),$(PROJECT))) $(call option,--debs,$(DEBS)) \
		$(call option,--definition,$(DEFINITION)) $(call option,--job,$(JOB)) $(OPTIONS)

.PHONY: up exec down
up: setup ## Start a machine that stays: NAME= IMAGE= TTL=2h
	@$(INV) up $(call quote,$(NAME)) $(call option,--image,$(IMAGE)) $(call option,--ttl,$(TTL)) $(ARGS)

exec: setup ## Run COMMAND in the machine NAME
	@$(INV) exec $(call quote,$(NAME)) $(ARGS) -- $(call quote,$(COMMAND))

down: setup ## End the machine NAME
	@$(INV) down $(call quote,$(NAME))

# Few enough workers that tests with limits of time keep to them; ARGS="-n 0" has none.
# A test that hangs ends with its worker after HANG_S seconds, and the stacks of its threads tell where; the rest goes on.
HANG_S := 900
PYTEST = .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations 20 --durations-min 30 \
	-o faulthandler_timeout=$(HANG_S) -o faulthandler_exit_on_timeout=true

.PHONY: check
check: setup ## Every test and linter that this project has about itself, real machines included
	@$(PYTHON) -I vmtasks/bootstrap.py buildbot-tests ec2-tests
	@$(PYTEST) tests $(ARGS)

.PHONY: check-fast
check-fast: setup ## The tests that need no machine: a minute or two
	@$(PYTEST) tests/unit tests/process $(ARGS)

.PHONY: check-kvm
check-kvm: setup ## See what machines do under KVM, in a machine that has one; writes docs/kvm.md (up to an hour)
	@.venv/bin/python -m tests.kvm $(ARGS)

.PHONY: check-arm64
check-arm64: setup ## See that guests for arm64 work here: bakes bookworm-arm64, and boots it (minutes)
	@.venv/bin/python -m pytest -n 0 -m arm64 tests/vm/test_arm64.py $(ARGS)

.PHONY: check-selftest
check-selftest: setup ## See that the wheel and the .deb of vmtasks pass, and have the images of the checkout (minutes)
	@.venv/bin/python -m pytest -n 0 -m selftest tests/vm/test_selftest.py $(ARGS)

.PHONY: torture
torture: setup ## Lose processes of real runs in N random ways, and see that nothing is left: N=200 SEED=
	@.venv/bin/python -m tests.torture --trials $(or $(N),200) $(call option,--seed,$(SEED)) $(ARGS)

.PHONY: hostile
hostile: setup ## Let guests do their worst to this host, one after the other, and see that it is unharmed (minutes)
	@.venv/bin/python -m pytest -n 0 tests/hostile/guests.py $(ARGS)

.PHONY: bench
bench: setup ## Measure speed and memory; prints ratios within one run
	@$(INV) bench $(ARGS)

PIN = CUSTOM_COMPILE_COMMAND='make lock' build/lock/bin/pip-compile pyproject.toml --quiet --upgrade --allow-unsafe \
	--strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file

.PHONY: lock
lock: ## Pin all requirements*.lock anew (Python 3.11, the oldest that is supported; needs the network)
	@python3.11 -m venv --clear build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.4'
	@$(PIN) requirements.lock --extra dev --build-deps-for editable
	@$(PIN) requirements-buildbot-tests.lock --extra buildbot-tests --constraint requirements.lock
	@$(PIN) requirements-ec2-tests.lock --extra ec2-tests --constraint requirements.lock \
		--constraint requirements-buildbot-tests.lock
	@$(PIN) requirements-buildbot.lock --extra buildbot --constraint requirements-buildbot-tests.lock
	@$(PIN) requirements-ec2.lock --extra ec2 --constraint requirements-ec2-tests.lock

.PHONY: clean
clean: ## Remove results and .venv; the images' cache stays (inv images.prune)
	@rm -rf build .venv .venv.lock .venv.extras .mypy_cache .pytest_cache .ruff_cache

##
## Also, with SOURCE=, OUT= and DEBS= where they take them: make build-deb, make tarbake, make install-test, make selftest
## make lava-test-shell DEFINITION=FILE (test definitions of LAVA), make group JOB=FILE (several machines)
## Options: PROJECT=DIR IMAGE=NAME KERNEL=NAME|FILE OUT=DIR VM_DEBUG=1 (a shell where it failed) KEEP=1 (the machine stays)
##   FREEZE=1 (inv reopen opens it) ARGS=…
