"""Each pattern that meets a stranger's text takes no longer than the text is long, whatever is repeated in it.

The patterns are found by reading the package: compiled ones with the methods that they are used by, and those that are
handed to functions of :mod:`re` as they are. What is repeated is made of the pattern itself: its own beginnings, each
of its parts, blanks and line feeds, and these behind each of its beginnings.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import vmtasks
from tests.limited import TooLongError, limited

PACKAGE = Path(vmtasks.__file__).parent
ROOMS = ("config", "debian", "frameworks", "guest", "image", "installables", "kernel", "machine", "project", "report")
"""Rooms with patterns for what projects, guests and programs in guests have written."""
SHORT = {
    "config.hours": "a line of the host's own settings",
    "image.mirror": "the host's own apt says it",
}
"""Modules whose patterns meet nothing of a stranger's."""
HANDED_ON = {"project.source._CONTROL": "fullmatch", "debian.debfile._CONTROL": "fullmatch"}
"""What is used elsewhere, under another name: the method. Of all others without one, the worst is taken."""
METHODS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
LENGTH = 50_000
LIMIT_S = 0.3
"""Of the processor's time. A pattern that reads such a text once takes some milliseconds, and one that reads it again
from each place takes seconds."""


@dataclass(frozen=True, slots=True)
class Used:
    """A pattern, and a method by which it is used."""

    where: str
    pattern: re.Pattern[Any]
    method: str


def patterns() -> list[Used]:
    """Return every pattern of :data:`ROOMS` once for each method that it is used by."""
    trees = {path: ast.parse(path.read_text()) for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))}
    names = {path: ".".join(("vmtasks", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in trees}
    methods: dict[tuple[str, str], set[str]] = {}
    for path, tree in trees.items():
        homes = {
            alias.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in METHODS and isinstance(node.value, ast.Name):
                home = homes.get(node.value.id) or names[path]
                methods.setdefault((home, node.value.id), set()).add(node.attr)
    found: list[Used] = []
    for path, tree in trees.items():
        name = names[path]
        short = name.removeprefix("vmtasks.")
        if short in SHORT or path.name == "__init__.py" or "re" not in imports(tree):
            continue
        for variable, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern) and is_assigned(tree, variable):
                used = methods.get((name, variable)) or {HANDED_ON.get(f"{short}.{variable}", "search")}
                found += [Used(f"{short}.{variable}", value, method) for method in sorted(used)]
        for node in ast.walk(tree):
            if (called := of_re(node)) and isinstance(pattern := called.args[0], ast.Constant):
                method = called.func.attr  # type: ignore[attr-defined]
                flags = re.MULTILINE if any("MULTILINE" in ast.unparse(one) for one in called.args) else 0
                found.append(Used(f"{short}:{called.lineno}", re.compile(pattern.value, flags), method))
    return found


def imports(tree: ast.Module) -> set[str]:
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


def is_assigned(tree: ast.Module, name: str) -> bool:
    targets = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def of_re(node: ast.AST) -> ast.Call | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        return node if isinstance(node.func.value, ast.Name) and node.func.value.id == "re" else None
    return None


# ---- texts that are made of a pattern


def parts(pattern: re.Pattern[Any]) -> list[str]:
    """Return texts that the parts of a pattern match, one after the other."""
    parser = importlib.import_module("re._parser")
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    return list(_parts(parser.parse(text, pattern.flags & ~re.UNICODE)))


def _parts(nodes: Any) -> Iterator[str]:
    for kind, value in nodes:
        match str(kind):
            case "LITERAL":
                yield chr(value)
            case "NOT_LITERAL":
                yield "a" if value != ord("a") else "b"
            case "ANY":
                yield "a"
            case "IN":
                yield _one_of(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                yield "".join(_parts(value[2])) * max(1, min(value[0], 64))
            case "SUBPATTERN":
                yield from _parts(value[3])
            case "ATOMIC_GROUP":
                yield from _parts(value)
            case "BRANCH":
                yield from _parts(value[1][0])


def _one_of(choices: Any) -> str:
    kinds = {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a"}
    if str(choices[0][0]) == "NEGATE":
        member = re.compile("[" + "".join(_written(one) for one in choices[1:]) + "]")
        return next((one for one in "a1 -.<(\n\x7f\x01" if not member.match(one)), "a")
    first = choices[0]
    match str(first[0]):
        case "LITERAL":
            return chr(first[1])
        case "RANGE":
            return chr(first[1][0])
        case _:
            return kinds.get(str(first[1]), "-")


def _written(choice: Any) -> str:
    kinds = {"CATEGORY_SPACE": r"\s", "CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_NOT_SPACE": r"\S"}
    match str(choice[0]):
        case "LITERAL":
            return re.escape(chr(choice[1]))
        case "RANGE":
            return f"{re.escape(chr(choice[1][0]))}-{re.escape(chr(choice[1][1]))}"
        case _:
            return kinds[str(choice[1])]


def hostile(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Yield long texts in which something is repeated that the pattern may look at again and again."""
    one = parts(pattern)
    beginnings = {"".join(one[:length]) for length in range(1, len(one) + 1)}
    units = {" ", "\n", " \n", "\t", "a", "a ", "1", "<>", *one, *beginnings}
    units |= {f"{beginning}{end}" for beginning in beginnings for end in "\n "}
    yield from (repeated(unit) for unit in sorted(units))
    fillers = {
        " ",
        "\n",
        "a",
        "".join(one),
        "".join(part for part in one if not part.isalnum() and part.strip()) or " ",
    }
    yield from (f"{beginning}{repeated(unit)}" for beginning in sorted(beginnings) for unit in sorted(fillers))
    yield from (f"{repeated(unit)}\x00" for unit in (" ", "a", "1", "a "))


def repeated(unit: str) -> str:
    return unit * (LENGTH // len(unit))


def is_quick(used: Used, text: str) -> bool:
    subject: Any = text if isinstance(used.pattern.pattern, str) else text.encode("utf-8", "replace")
    method = getattr(used.pattern, used.method)
    try:
        with limited(LIMIT_S):
            answer = method("", subject) if used.method in {"sub", "subn"} else method(subject)
            if used.method == "finditer":
                for _ in answer:
                    pass
    except TooLongError:
        return False
    return True


USED = patterns()


@pytest.mark.parametrize("used", USED, ids=[f"{one.where}-{one.method}" for one in USED])
def test_a_pattern_reads_a_text_once(used: Used) -> None:
    slow = next((text for text in hostile(used.pattern) if not is_quick(used, text)), None)
    assert slow is None, f"{used.where}: {used.pattern.pattern!r} reads {slow[:40]!r}… again and again"


def test_there_are_patterns() -> None:
    assert len(USED) > 100
    found = {f"{used.where}-{used.method}" for used in USED}
    assert "project.kinds.meson._VERSION-match" in found
    assert any(name.startswith("debian.dep8:") and name.endswith("-split") for name in found), "one without a name"


@pytest.mark.parametrize(
    ("pattern", "flags", "method"),
    [
        (r"^\s*+project", re.MULTILINE, "search"),
        (r"^project\([^)]*?\bversion", re.MULTILINE, "search"),
        (r"[ \t]*#.*$", re.MULTILINE, "sub"),
        (r" -- .*<.*>\s+(\S.*)", 0, "fullmatch"),
        (r"^(.*?)\s*+;\s*+(?:(.*\S)\s++and\s++)?extra$", 0, "match"),
        (r"([^\s:#][^:]*?)[ \t]*:", 0, "match"),
        (r"\bgit(?:\s+-\S+)*\s+(?:describe|log)\b", 0, "search"),
        (r"(a+)+$", 0, "match"),
        (r"\[([^\]]*)\]", 0, "search"),
    ],
)
def test_a_pattern_that_reads_again_and_again_is_found(pattern: str, flags: int, method: str) -> None:
    used = Used("an example", re.compile(pattern, flags), method)
    assert not all(is_quick(used, text) for text in hostile(used.pattern))
