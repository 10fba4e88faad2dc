"""What others write needs public names only: recipes, examples, and the Python of the documents.

The public names are ``vmtasks.__all__`` and ``vmtasks.testing.__all__``; Buildbot has its own by entry points.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vmtasks
import vmtasks.testing

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {"vmtasks": vmtasks.__all__, "vmtasks.testing": vmtasks.testing.__all__}
PROGRAMS = ("recipes/**/*.py", "examples/**/*.py", "examples/**/*.cfg")
DOCUMENTS = ("README.md", "docs/*.md", "images/*.md", "examples/**/*.md")
_BLOCK = re.compile(r"^```(?:python|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs() -> Iterator[tuple[Path, int, str]]:
    """Yield the programs that others learn from: the file, the number of the line before it, and the program."""
    for pattern in PROGRAMS:
        for path in ROOT.glob(pattern):
            yield path, 0, path.read_text(encoding="utf-8")
    for pattern in DOCUMENTS:
        for path in ROOT.glob(pattern):
            text = path.read_text(encoding="utf-8")
            for block in _BLOCK.finditer(text):
                yield path, text.count("\n", 0, block.start(1)), block[1]


def private_names(program: str) -> Iterator[tuple[int, str]]:
    """Yield what a program takes from vmtasks beside the public names, and in which line."""
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.Import(names=names):
                used = [(alias.name, "") for alias in names if alias.name not in PUBLIC]
            case ast.ImportFrom(module=str(module), names=names):
                used = [(module, alias.name) for alias in names if alias.name not in PUBLIC.get(module, ())]
            case ast.Attribute(value=ast.Name(id="vmtasks"), attr=name):
                used = [("vmtasks", name)] if name not in {*PUBLIC["vmtasks"], "testing"} else []
            case _:
                continue
        for module, name in used:
            if module.partition(".")[0] == "vmtasks" and (module, name) != ("vmtasks", "testing"):
                yield node.lineno, f"{module}.{name}".rstrip(".")


def test_recipes_examples_and_documents_need_public_names_only() -> None:
    faults = [
        f"  {path.relative_to(ROOT)}:{before + line}: {name}"
        for path, before, program in programs()
        for line, name in private_names(program)
    ]
    if faults:
        rule = "Others copy this: have a public object do it, or make the name public (vmtasks/__init__.py)."
        pytest.fail("\n".join([rule, *faults]), pytrace=False)


def test_programs_are_found_in_every_place() -> None:
    found = {str(path.relative_to(ROOT)) for path, *_ in programs()}
    assert {"recipes/tarbake.py", "examples/buildbot/master.cfg", "docs/recipes.md", "docs/providers.md"} <= found


@pytest.mark.parametrize("name", PUBLIC["vmtasks"])
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(vmtasks, name) is not None
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    words = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}
    assert name in words, f"docs/recipes.md lists the public names, but not {name}"


@pytest.mark.parametrize(("old", "new"), vmtasks._RENAMED.items())
def test_a_name_of_before_is_understood_and_warns(old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=rf"vmtasks\.{old} is now vmtasks\.{new}"):
        assert getattr(vmtasks, old) is getattr(vmtasks, new)


def test_what_a_run_and_a_guest_were_told_before_is_understood_and_warns(tmp_path: Path) -> None:
    run = vmtasks.Run(recipe="r", directory=tmp_path)
    options: dict[str, Any] = {"goes_on": True}
    with pytest.warns(FutureWarning, match="goes_on= is now continue_on_error=True"), run.case("one", **options):
        raise vmtasks.TestFailed("no")
    assert [*run.failed] == ["one"]
    guest = vmtasks.Guest(SimpleNamespace(machine="m"))
    with pytest.warns(FutureWarning, match="guest.limit_s is now guest.timeout_s"):
        guest.limit_s = 5.0
    assert guest.timeout_s == 5.0


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("from vmtasks import boot, events", []),
        ("import vmtasks; vmtasks.boot('bookworm')", []),
        ("from vmtasks.testing import FakeProvider", []),
        ("from vmtasks import testing", []),
        ("import json, vmtasks.testing; vmtasks.testing.FakeProvider()", []),
        ("from recipes.tarbake import DIRECTORY", []),
        ("def late():\n    from vmtasks.guest.transfer import put", [(2, "vmtasks.guest.transfer.put")]),
        ("from vmtasks import guest", [(1, "vmtasks.guest")]),
        ("from vmtasks.errors import UsageError", [(1, "vmtasks.errors.UsageError")]),
        ("import vmtasks.events", [(1, "vmtasks.events")]),
        ("from vmtasks.testing.fake_sshd import FakeSshd", [(1, "vmtasks.testing.fake_sshd.FakeSshd")]),
        ("import vmtasks\nvmtasks.spec", [(2, "vmtasks.spec")]),
    ],
)
def test_private_names_are_seen(program: str, expected: list[tuple[int, str]]) -> None:
    assert list(private_names(program)) == expected
