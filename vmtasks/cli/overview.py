"""What ``vmtasks --help`` shows: every task in a group, as a line that can be typed, and what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from types import MappingProxyType

from invoke.collection import Collection

ALIASES: Mapping[str, str] = MappingProxyType({"test": "test-in-vm", "ps": "vm.ps"})
"""Short names, and the tasks that they are."""

EXAMPLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "A project": (
            "init --ci github",
            "test --image trixie",
            "reopen --run make",
            "rerun --failed",
            "run --put . -- make check",
            "shell --image trixie",
            "config --source .",
            "lint",
        ),
        "A machine that stays": (
            "up web --ttl 2h",
            "exec web -- make check",
            "put web dist/ /srv",
            "get web /var/log/syslog .",
            "ssh web",
            "ssh-config web",
            "down web",
        ),
        "Debian packages": (
            "source-package --source .",
            "tarbake --out /tmp",
            "build-deb --with-source",
            "install-test --debs hello.deb",
            "kernel-test --kernel linux-image-amd64",
            "suite tests --runner bats",
        ),
        "Several machines, and LAVA": (
            "group --job pair.toml",
            "netperf --server guest",
            "lava-test-shell --definition smoke.yaml",
        ),
        "Images": (
            "images.list",
            "images.show bookworm",
            "images.bake bookworm --refresh",
            "images.check",
            "images.prune",
        ),
        "This host": (
            "doctor",
            "setup --yes",
            "selftest --source .",
            "ps --json",
            "vm.times --last 5",
            "vm.gc",
            "vm.shell bookworm",
            "vm.console bookworm",
            "host.availability none --until 18:00",
            "help vmtasks.toml",
        ),
    }
)
"""A line for each task, by group: what follows ``vmtasks``."""
_LEAST_ROOM = 24
"""So many characters of what a task does are worth a place beside it."""
_OTHERS = "Of this directory"


def overview(namespace: Collection, width: int) -> Iterator[str]:
    """Yield the lines of the help.

    :param width: of the terminal, in characters.
    """
    yield "Usage: vmtasks TASK [--option VALUE …] …      vmtasks help TASK      vmtasks help PAGE"
    shown = {line.partition(" ")[0] for lines in EXAMPLES.values() for line in lines}
    others = tuple(name for name in sorted(namespace.task_names) if name not in {*shown, *ALIASES.values()})
    groups = {**EXAMPLES, _OTHERS: others}
    longest = max(len(line) for lines in groups.values() for line in lines)
    for group, lines in groups.items():
        if lines:
            yield ""
            yield f"{group}:"
        for line in lines:
            name = line.partition(" ")[0]
            if name in namespace:
                says = _first_sentence(namespace[name].__doc__ or "")
                if (room := width - longest - 12) >= _LEAST_ROOM:
                    yield f"  vmtasks {line:{longest}}  {_cut(says, room)}".rstrip()
                else:  # below it, in full
                    yield f"  vmtasks {line}"
                    yield from wrap(says, max(width, _LEAST_ROOM), initial_indent="      ", subsequent_indent="      ")
    yield ""
    yield "Every task has --help. Options of vmtasks itself: --version, --print-completion-script bash|zsh|fish"


def _first_sentence(text: str) -> str:
    return text.strip().partition("\n")[0].removesuffix(".")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"
