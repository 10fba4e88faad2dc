# For a project's own makefile. With a checkout of vmtasks beside the project, this one line gives it `make test-in-vm`:
#
#     include ../vmtasks/vmtasks/vmtasks.mk
#
# Options are variables of the command line:
#     make test-in-vm IMAGE=trixie KERNEL=NAME OUT=DIR VM_DEBUG=1 KEEP=1 FREEZE=1 ARGS=…
# The makefile may set, above that line:
#     VMTASKS_PROJECT   the project's directory, if it is not that of the makefile that make was called with
#     VMTASKS_TARGETS   the recipes to have targets for; by default, test-in-vm

vmtasks.goal := $(.DEFAULT_GOAL)
vmtasks.self := $(lastword $(MAKEFILE_LIST))
vmtasks.home := $(or $(patsubst %/vmtasks/vmtasks.mk,%,$(filter %/vmtasks/vmtasks.mk,$(vmtasks.self))),.)

# make tells the path of its makefile among others, parted by blanks. What is no file is a piece of one.
vmtasks.makefile := $(firstword $(MAKEFILE_LIST))
ifeq ($(VMTASKS_PROJECT),)
ifneq ($(wildcard $(vmtasks.makefile)),$(vmtasks.makefile))
$(error cannot tell the project's directory from '$(MAKEFILE_LIST)': set VMTASKS_PROJECT in the makefile)
endif
ifneq ($(wildcard $(vmtasks.makefile)/.),)
$(error cannot tell the project's directory from '$(MAKEFILE_LIST)': set VMTASKS_PROJECT in the makefile)
endif
endif
ifeq ($(wildcard $(vmtasks.home)/vmtasks/vmtasks.mk),)
$(error cannot include vmtasks.mk by a path with blanks: call the checkout of vmtasks by one without)
endif
vmtasks.project := $(or $(VMTASKS_PROJECT),$(patsubst %/,%,$(dir $(vmtasks.makefile))))

# Only what the command line sets: a project may have an IMAGE or ARGS of its own.
vmtasks.set = $(if $(filter command,$(firstword $(origin $(1)))),$($(1)))
vmtasks.on = $(filter-out 0 no false,$(call vmtasks.set,$(1)))
# One word for the shell, whatever is in it; an option with one.
vmtasks.quote = '$(subst ','\'',$(1))'
vmtasks.option = $(if $(call vmtasks.set,$(2)),$(1) $(call vmtasks.quote,$($(2))))
vmtasks.options = $(call vmtasks.option,--image,IMAGE) $(call vmtasks.option,--kernel,KERNEL) $(call vmtasks.option,--out,OUT) \
	$(if $(call vmtasks.on,VM_DEBUG),--shell) $(if $(call vmtasks.on,KEEP),--keep) \
	$(if $(call vmtasks.on,FREEZE),--freeze) $(call vmtasks.set,ARGS)

VMTASKS_TARGETS ?= test-in-vm
.PHONY: $(VMTASKS_TARGETS)
$(VMTASKS_TARGETS):
	@python3 -I $(call vmtasks.quote,$(vmtasks.home)/vmtasks/bootstrap.py)
	@$(call vmtasks.quote,$(vmtasks.home)/.venv/bin/inv) -r $(call vmtasks.quote,$(vmtasks.home)) $@ \
		--source $(call vmtasks.quote,$(vmtasks.project)) $(vmtasks.options)

# Wherever the line stands, it makes no target of ours the default.
.DEFAULT_GOAL := $(vmtasks.goal)
