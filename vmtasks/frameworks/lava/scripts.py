"""The two scripts of a definition in the guest: install.sh and run.sh. Pure functions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from vmtasks.frameworks.lava.definition import InstallSection, TestDefinition

_ARGUMENT = re.compile(r"\$(?=\d)")
_SIGNAL = '"${0%/run/*}/bin/lava-signal"'
_TRAP = f"""[ -z "$BASH_VERSION" ] || trap '[ "${{_ended-}}" ] || {_SIGNAL} STOPPED "$BASH_COMMAND"' EXIT"""
_HANDED_ON = re.compile(r"--(?:shell|cmd)\b")


def run_script(definition: TestDefinition, *, suite: str) -> str:
    """Return run.sh: all steps, in one shell, which ends with the first that fails.

    Its last line tells that it was reached. Its exit status does not: the last step may be a test that is false, behind
    which ``&&`` follows, and one that ends the shell may do so with 0. Then bash tells which command that was.

    :param suite: what the results call the definition.
    """
    steps = map(protected, definition.steps)
    # Behind an empty line, for a step that ends with a backslash.
    return "\n".join([*_head(definition, suite), _TRAP, "set -e", *steps, "", "_ended=yes", f"{_SIGNAL} ENDSTEPS", ""])


def install_script(definition: TestDefinition, *, suite: str) -> str:
    """Return install.sh; empty if there is nothing to install."""
    lines = list(_install_lines(definition.install))
    return "\n".join([*_head(definition, suite), "set -e", *lines, ""]) if lines else ""


def _head(definition: TestDefinition, suite: str) -> Iterator[str]:
    yield f"export TESTRUN_ID={shlex.quote(suite)}"
    # Not exported: programs that the steps call see a parameter only where the step hands it on. LAVA puts values
    # between apostrophes as they are, so that one with an apostrophe breaks the script.
    for name, value in definition.params.items():
        yield f"{name}={shlex.quote(value)}"


def _install_lines(install: InstallSection) -> Iterator[str]:
    for helper, words in (("lava-add-keys", install.keys), ("lava-add-sources", install.sources)):
        if words:
            yield shlex.join([helper, *words])
    if install.deps or install.deps_of:
        yield shlex.join(["set", "--", *install.deps])
        if install.deps_of:
            yield 'case $(. /etc/os-release && echo "$ID") in'
            for system, packages in install.deps_of.items():
                yield f'{shlex.quote(system)}) set -- "$@" {shlex.join(packages)} ;;'
            yield "esac"
        yield 'lava-install-packages "$@"'
    yield from map(protected, install.steps)


def protected(step: str) -> str:
    """Return a step in which ``$1`` reaches the command behind ``--shell``, as in ``--shell "awk '{print $1}'"``.

    run.sh itself has no arguments, so nobody means its own. LAVA also changes what stands between apostrophes, where
    awk then meets a backslash.
    """
    if not _HANDED_ON.search(step):
        return step
    made, quote, index = [], "", 0
    while index < len(step):
        letter = step[index]
        if letter == "\\" and quote != "'":
            made.append(step[index : index + 2])
            index += 2
            continue
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        is_argument = quote != "'" and _ARGUMENT.match(step, index)
        made.append("\\$" if is_argument else letter)
        index += 1
    return "".join(made)
