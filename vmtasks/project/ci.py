"""What calls ``vmtasks test`` elsewhere: a file for each CI, and one for make; plain text, written as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A file of a project's."""

    path: str
    text: str
    then: str
    """What is to be done with it."""


_GITHUB = """\
name: in-vm
on: [push, pull_request]
jobs:
  in-vm:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - name: Let this user have KVM, and bake images in a user namespace
        run: sudo chmod 0666 /dev/kvm && sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0
      - uses: actions/cache@v4
        with: {path: ~/.cache/vmtasks/images, key: vmtasks-images}
      # A variable of the repository: where pip gets vmtasks from, such as git+https://...
      - run: pipx install "${{ vars.VMTASKS }}" && vmtasks setup --yes
      - run: vmtasks test
      - uses: actions/upload-artifact@v4
        if: always()
        with: {name: in-vm, path: build/vmtasks}
"""
_GITLAB = """\
in-vm:
  image: debian:trixie
  tags: [kvm]  # a runner that gives its jobs /dev/kvm; without it, machines are emulated and slow
  variables:
    VMTASKS_CACHE: $CI_PROJECT_DIR/.vmtasks-cache
  cache:
    key: vmtasks
    paths: [.vmtasks-cache/images]
  before_script:
    - apt-get update && apt-get install --yes pipx
    # A variable of the project: where pip gets vmtasks from, such as git+https://...
    - pipx install "$VMTASKS" && export PATH="$HOME/.local/bin:$PATH"
    - vmtasks setup --yes
  script:
    - vmtasks test
  artifacts:
    when: always
    paths: [build/vmtasks]
    reports:
      junit: build/vmtasks/latest/junit.xml
"""
_SALSA = """\
include:
  - https://salsa.debian.org/salsa-ci-team/pipeline/raw/master/recipes/debian.yml

"""
_BUILDBOT = '''\
"""For a master.cfg: ``factory=util.BuildFactory([steps.Git(...), in_vm])``; the workers have vmtasks installed."""

from buildbot.plugins import steps, util

in_vm = steps.ShellCommand(
    name="in-vm",
    command=["vmtasks", "test"],
    decodeRC={0: util.SUCCESS, 69: util.EXCEPTION, 70: util.EXCEPTION, 130: util.CANCELLED},  # others: FAILURE
    sigtermTime=60,
    timeout=None,  # it may have to wait for a slot
    logEnviron=False,
)
'''
_MAKE = """\
.PHONY: test-in-vm
test-in-vm:
\t@vmtasks test $(if $(IMAGE),--image $(IMAGE)) $(ARGS)
"""

CI: Mapping[str, Template] = MappingProxyType(
    {
        "github": Template(path=".github/workflows/in-vm.yml", text=_GITHUB, then="git add .github"),
        "gitlab": Template(path=".gitlab-ci.yml", text=_GITLAB, then="git add .gitlab-ci.yml"),
        "salsa": Template(
            path="debian/salsa-ci.yml", text=_SALSA + _GITLAB, then="name debian/salsa-ci.yml as the project's CI file"
        ),
        "buildbot": Template(path="buildbot/in_vm.py", text=_BUILDBOT, then="import it in master.cfg"),
    }
)
"""What ``init --ci`` writes, by the CI's name."""
MAKE = Template(path="vmtasks.mk", text=_MAKE, then="add `include vmtasks.mk` to the makefile: make test-in-vm")
