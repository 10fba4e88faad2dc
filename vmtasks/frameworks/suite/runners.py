"""What can run a suite: how each is started, what it needs, and where it says what it found."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmtasks.errors import UsageError, did_you_mean

SHELL = "shell"
BATS = "bats"
RESULTS_VARIABLE = "VMTASKS_SUITE_RESULTS"
"""What names the directory to tests whose files come home."""
TAP, XUNIT = "results.tap", "results.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRunner:
    """A program that runs a suite as a whole; the one of scripts is none, and has no line."""

    name: str
    line: str = ""
    """The shell line that starts it: ``$results`` is the directory for what it writes, ``"$@"`` what it is to run."""
    packages: tuple[str, ...] = ()
    """The Debian packages that it needs."""
    wheels: tuple[tuple[str, str], ...] = ()
    """The Python wheels that it is: what pip is to install, and the sha256 of each."""
    no_tests_status: int | None = None
    """The exit status that tells, together with the text, that a suite has no tests."""
    no_tests_text: str = ""
    only: Callable[[Sequence[str]], list[str]] = lambda _: []
    """Returns the arguments that have it run the tests of these names alone, as it reports them; none: it cannot."""


def _patterns(names: Sequence[str]) -> list[str]:
    return [glob.escape(name) for name in names]


def _filter(names: Sequence[str]) -> list[str]:
    return ["--filter", f"^({'|'.join(map(re.escape, names))})$"]


def _expression(names: Sequence[str]) -> list[str]:
    """Return pytest's, by the names of functions: what stands in brackets need not be one of its words."""
    functions = dict.fromkeys(name.partition("[")[0].rpartition(".")[2] for name in names)
    return ["-k", " or ".join(functions)] if all(map(str.isidentifier, functions)) else []


_RUNNERS = (
    SuiteRunner(name=SHELL, only=_patterns),
    SuiteRunner(
        name="avocado",
        line='avocado run --disable-sysinfo --job-results-dir "$results" "$@"',
        packages=("python3",),
        wheels=(
            ("avocado-framework==113.0", "c9befbe4311763463a775d48d2c8530446cc3731cf0a2a5a5051569fb30048a9"),
            # It imports pkg_resources, which later ones no longer have.
            ("setuptools==80.9.0", "062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922"),
        ),
        no_tests_status=2,
        no_tests_text="resolved into tests",
    ),
    SuiteRunner(
        name=BATS,
        # Its own xUnit is written by a process that it does not wait for. By timings, titles are told from skips.
        line='{ bats --formatter tap --timing --recursive "$@"; echo $? >"$results/.status"; } | '
        f'tee "$results/{TAP}"; status=$(cat "$results/.status"); rm "$results/.status"; exit "$status"',
        packages=("bats",),
        only=_filter,
    ),
    SuiteRunner(
        name="pytest",
        line=f'python3 -m pytest -p no:cacheprovider --junitxml="$results/{XUNIT}" "$@"',
        packages=("python3",),
        wheels=(
            ("pytest==8.4.2", "872f880de3fc3a5bdc88a11b39c9710c3497a547cfa9320bc3c5e62fbf272e79"),
            ("iniconfig==2.3.1", "9121e2c1fdb355232495be3194c8dfe87ccc2d5dee45947b78e68f499790d7a7"),
            ("packaging==26.4", "81383611a09c1bc0b08b76e0fd5829d7c6824c65b27a6aee339da133f4233ea2"),
            ("pluggy==1.7.0", "7dd7b0d8832ba3cb632c306926ded123429211b83641b35dc5c41ad2d34f9bec"),
            ("pygments==2.21.0", "2363c69b61c4a97c838da3b130dcd6468f4848992b21a82f2a63ec34377137d9"),
        ),
        no_tests_status=5,
        only=_expression,
    ),
)


def runner_of(name: str) -> SuiteRunner:
    """Return the runner of a name.

    :raise UsageError: there is none.
    """
    for one in _RUNNERS:
        if one.name == name:
            return one
    known = [one.name for one in _RUNNERS]
    raise UsageError(
        f"there is no runner '{name}'; known are {', '.join(known)}", hint=did_you_mean(name, known, otherwise="")
    )


def command_of(runner: SuiteRunner, words: Sequence[str], *, programs: str = "") -> list[str]:
    """Return what runs a suite: the files of each start after a reboot are in a directory of their own.

    :param words: arguments of the runner, and what it is to run.
    :param programs: the guest's directory in which programs are found before all others.
    """
    path = f"PATH={shlex.quote(programs)}:$PATH; " if programs else ""
    place = f'results="${RESULTS_VARIABLE}/start-${{VMTASKS_REBOOT_COUNT:-0}}"'
    return ["sh", "-c", f'{path}{place}; mkdir -p "$results"; {runner.line}', runner.name, *words]
