"""What asks git, in the ways in which makefiles, CMake, Meson and Python write that."""

from __future__ import annotations

import time

import pytest

from vmtasks.project.git_query import query_in

SIZE_BYTES = 64 * 1024
LIMIT_S = 2.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("V := $(shell git describe --tags)\n", "git describe"),
        ("V := $(shell git -C $(CURDIR) describe)\n", "git describe"),
        ("V := $(shell git -C $(dir $(lastword $(MAKEFILE_LIST))) describe)\n", "git describe"),
        ("V := $(shell git -c safe.directory=* describe)\n", "git describe"),
        ("V := $(shell git -c safe.directory='*' -C \"$(CURDIR)\" --no-pager describe)\n", "git describe"),
        ("V := $(shell $(GIT) describe)\n", "$(GIT) describe"),
        ("V=$(${GIT} --git-dir=.git rev-parse HEAD)\n", "${GIT} rev-parse"),
        ('V=$("$GIT" --git-dir "$here/.git" log -1)\n', "$GIT log"),
        ("V := $(shell git \\\n\tdescribe)\n", "git describe"),
        ("version: run_command('git', 'describe', check: true).stdout()", "git describe"),
        ("version: run_command(git, '-C', meson.source_root(), 'describe')", "git describe"),
        ("check_output(['git', '-C', str(Path(__file__).parent), 'describe'])", "git describe"),
        ("version: run_command(git, 'describe', '--tags')", "git describe"),
        ("vcs_tag(command: ['git','describe'], input: 'v.in', output: 'v')", "git describe"),
        ("vcs_tag(input: 'v.in', output: 'v')", "vcs_tag"),
        ("execute_process(COMMAND ${GIT_EXECUTABLE} describe --tags)", "${GIT_EXECUTABLE} describe"),
        (
            'execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${CMAKE_SOURCE_DIR}" describe)',
            "${GIT_EXECUTABLE} describe",
        ),
        ("execute_process(COMMAND ${GIT_EXECUTABLE} -C ${CMAKE_SOURCE_DIR} rev-parse)", "${GIT_EXECUTABLE} rev-parse"),
        ("subprocess.check_output(['git', 'describe', '--tags'])", "git describe"),
        ('check_output(["git", "-C", "/a b", "describe"])', "git describe"),
        ("check_output('git describe --tags', shell=True)", "git describe"),
        ('requires = ["setuptools_scm[toml]>=8"]', "setuptools_scm"),
        ("AC_INIT([x], m4_esyscmd([build-aux/git-version-gen .v]))", "git-version-gen"),
        ("# a release: git push, then show it\n", ""),
        ("# clone it with git, show it to everybody\n", ""),
        ("url = https://example.org/x.git\n", ""),
        ("git clone https://example.org/x\n\tgit checkout log\n", ""),
        ("git -C describe\n", ""),
        ("digit describe\n", ""),
    ],
)
def test_what_asks_git(text: str, found: str) -> None:
    assert query_in(text) == found


@pytest.mark.parametrize(
    "piece",
    [
        *("git ", "git -C ", "git '", 'git "', "git -c $(", "git -c $((", "git\\\n", "git -c a='", "git,", "git , '"),
        *("$(GIT) ", "git -x=", "git -" + "a" * 150 + " ", "git " + "\\" * 90, "git -c $(" + "(a)" * 60, "$", "("),
        *("git,'-C',", "git,'-C',((", "git,'-C',(a", "git -c $(((a", "git -c $(((a))"),
    ],
)
def test_a_text_that_was_written_to_be_slow_is_not(piece: str) -> None:
    for text in ("git " + piece * (SIZE_BYTES // len(piece)), piece[:4] + piece[4:] * SIZE_BYTES):
        began = time.monotonic()
        assert query_in(text[:SIZE_BYTES]) == ""
        assert time.monotonic() - began < LIMIT_S
