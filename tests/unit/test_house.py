"""The rules of the house, held by reading what stands there (see CONTRIBUTING.md).

Each test collects every fault before it fails, as FILE:LINE and what to do about it.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import vmtasks

ROOT = Path(__file__).resolve().parents[2]

CONTRACTS = {"errors", "events", "deadline", "spec"}
"""Anybody may import these."""
BENEATH = {
    "files": "",
    "process": "files",
    "config": "files",
    "profile": "",
    "report": "files",
    "ssh": "process",
    "host": "process config bootstrap",
    "qemu": "host",
    "cache": "host",
    "guest": "ssh profile",
    "supervisor": "qemu profile",
    "image": "cache",
    "debian": "guest host",
    "project": "debian",
    "machine": "supervisor image guest",
    "kernel": "image guest",
    "remote": "supervisor image",
    "providers": "machine remote kernel project",
    "installables": "providers",
    "testing": "providers",
    "group": "providers",
    "run": "group report",
    "frameworks": "run installables",
    "integrations": "run",
    "named": "run",
    "cli": "named frameworks",
    "recipes": "run frameworks",
    "benchmarks": "cli",
    "tasks": "cli recipes benchmarks",
}
"""What stands directly beneath each room: it may import that, all beneath that, and the contracts."""
TOP_LEVEL = {"recipes", "benchmarks", "tasks"}
FILES = {"__init__", "bootstrap", *CONTRACTS}
"""What lies in vmtasks/ beside the rooms, which are folders."""
THE_DOOR = "vmtasks"
"""Imports nothing until it is asked."""

# Who may import what comes from outside.
ONLY_IN = {
    "rich": ("vmtasks.report",),
    "yaml": ("vmtasks.frameworks.lava",),
    "boto3": ("vmtasks.providers.ec2.client",),
    "botocore": ("vmtasks.providers.ec2.client",),
    "buildbot": ("vmtasks.integrations.buildbot",),
    "fabric": ("vmtasks.ssh", "vmtasks.testing"),
    "paramiko": ("vmtasks.ssh", "vmtasks.testing"),
}
PROGRAMS: dict[str, tuple[str, ...]] = {
    "vmtasks.frameworks.autopkgtest.relay": (),
    "vmtasks.bootstrap": (),
    "vmtasks.group.switch": (),
    "vmtasks.image.rootfs": (),
    "vmtasks.process.confined": (),
    "vmtasks.process.matching": (),
    "vmtasks.process.subreaper": (),
    "vmtasks.remote.agent": ("invoke.exceptions",),
    "vmtasks.remote.proxy": (),
    "vmtasks.remote.watchdog": (),
    "vmtasks.supervisor.__main__": (),
}
"""What runs before, or far from, all that pip installs, and what it reaches beyond the standard library and ours."""
LONGEST_MODULE_LINES = 300
MAY_BE_LONGER = {
    "vmtasks.bootstrap": "runs before anything else is there, and so is one file",
    "vmtasks.events": "the whole contract between the engine and its reports is one page",
    "vmtasks.host.slots": "one idea: parted at Ticket, its two halves call each other all the time",
}
LONGEST_FUNCTION_LINES = 50
FUNCTIONS_THAT_MAY_BE_LONGER: dict[str, str] = {}
"""Function, with its module -> why it is longer."""
MAY_RENAME = {
    "vmtasks.files.durable": "it is the place for it",
    "vmtasks.image.rootfs": "within a bake, which gets its name when all of it is there",
    "vmtasks.supervisor.console_socket": "a socket has no content",
    "vmtasks.supervisor.__main__": "a lease is of no use after a power cut, and each start would wait for the disk",
}
"""What gives a file its name without :func:`vmtasks.files.durable.rename`, and why."""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
# Each pattern is written so that it does not match itself.
BELONGS_NOWHERE = {
    r"\b(deb|security|snapshot|ftp\.\w+)\.debian\.org\b": "the mirror is what the host's own apt says",
    r"\bpypi\.org\b|pythonhoste[d]": "pip knows its index",
    r"(?<![\w.~}/-])/roo[t]/(?!\.ssh\b)": "a path of somebody's machine",
    r"(?<![\w.~}/-])/wor[k]/": "a path of somebody's machine",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Module *importer* imports *target* in *line*; *name* is what it takes from there, if anything."""

    importer: str
    target: str
    name: str
    line: int
    is_for_types: bool = False


def hold(rule: str, faults: Iterable[str]) -> None:
    if found := sorted(faults):
        pytest.fail(f"{rule}\n" + "\n".join(f"  {fault}" for fault in found), pytrace=False)


@functools.cache
def modules() -> Mapping[str, Path]:
    """Return every module of ours by its dotted name."""
    files = [
        path
        for place in ("vmtasks/**/*.py", "recipes/**/*.py", "benchmarks/**/*.py", "tasks.py")
        for path in ROOT.glob(place)
    ]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports_of(module: str, source: str, known: Iterable[str]) -> Iterator[Import]:
    """Yield what *module* imports, wherever in it: ``from package import x`` counts for the module that x is or has."""
    tree = ast.parse(source)
    types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer=module, target=alias.name, name="", line=node.lineno, is_for_types=node in types)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "ruff (TID252) forbids relative imports"
            package = node.module or ""
            for alias in node.names:
                target = f"{package}.{alias.name}" if f"{package}.{alias.name}" in known else package
                if package == THE_DOOR and (home := {**vmtasks._HOMES, **vmtasks._ROOMS}.get(alias.name)):
                    target = f"{THE_DOOR}.{home}"
                yield Import(
                    importer=module, target=target, name=alias.name, line=node.lineno, is_for_types=node in types
                )


@functools.cache
def all_imports() -> tuple[Import, ...]:
    known = modules()
    return tuple(
        one
        for module, path in known.items()
        if module != THE_DOOR
        for one in imports_of(module, path.read_text(encoding="utf-8"), known)
    )


def where(one: Import) -> str:
    return f"{modules()[one.importer].relative_to(ROOT)}:{one.line}: {one.importer} imports {one.target}"


def is_inside(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in {"vmtasks", *TOP_LEVEL}


def room_of(module: str) -> str:
    """Return the room that a module is in; "" for the door."""
    first, _, rest = module.partition(".")
    return first if first in TOP_LEVEL else rest.partition(".")[0]


@functools.cache
def all_beneath(room: str) -> frozenset[str]:
    """Return what a room may import."""
    direct = BENEATH.get(room, "").split()
    return frozenset(direct).union(*map(all_beneath, direct))


def goes_up(one: Import) -> bool:
    here, there = room_of(one.importer), room_of(one.target)
    return is_ours(one.target) and there not in {"", here, *CONTRACTS} and there not in all_beneath(here)


def circle(imports: Iterable[Import]) -> list[str]:
    """Return the modules of one circle of imports, or nothing."""
    graph: dict[str, set[str]] = {}
    for one in imports:
        if is_ours(one.target) and one.target not in {one.importer, THE_DOOR}:
            graph.setdefault(one.importer, set()).add(one.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [str(module) for module in error.args[1]]
    return []


def lint(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(arguments)} says no:\n{done.stdout}", pytrace=False)


def text_files() -> Iterator[Path]:
    """Yield the files that git tracks or would track, as far as they are text."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("this is no git checkout, so nobody knows which files are part of it")
    for name in filter(None, listing.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes():
            yield path


def forbidden_words(text: str, patterns: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, reason in patterns.items():
            if match := re.search(pattern, line):
                yield number, match.group(), reason


def test_ruff_passes() -> None:
    lint("ruff", "check", "--no-fix", ".")


def test_ruff_would_format_nothing() -> None:
    lint("ruff", "format", "--check", ".")


def test_mypy_passes() -> None:
    lint("mypy", *sorted({path.relative_to(ROOT).parts[0] for path in modules().values()}))


def test_the_table_has_no_circle() -> None:
    graphlib.TopologicalSorter({room: beneath.split() for room, beneath in BENEATH.items()}).prepare()


def test_what_lies_in_the_package_are_the_rooms() -> None:
    there = {path.name.removesuffix(".py") for path in ROOT.glob("vmtasks/[!_.]*")} | {"__init__"}
    wanted = FILES | {"py.typed", "vmtasks.mk"} | (BENEATH.keys() - TOP_LEVEL)
    hold(
        "Each folder of vmtasks/ is a room with a line in BENEATH (tests/unit/test_house.py) and a sentence as the "
        "docstring of its __init__; beside them lie the door and the contracts alone.",
        (f"vmtasks/{name}" for name in there ^ wanted),
    )


def sentence_of(room: str) -> str:
    """Return the sentence that says what a room is for."""
    path = ROOT / (
        f"{room}.py"
        if room == "tasks"
        else f"{room}/__init__.py"
        if room in TOP_LEVEL
        else f"vmtasks/{room}/__init__.py"
    )
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def test_contributors_read_the_same() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = (
        f"| `{room}{'' if room == 'tasks' else '/'}` | {sentence_of(room)} | {beneath.replace(' ', ', ')} |"
        for room, beneath in BENEATH.items()
    )
    hold(
        "The table of CONTRIBUTING.md has each room's sentence, and what is beneath it:",
        (row for row in rows if row not in text),
    )


def test_a_room_is_a_docstring_and_what_it_hands_on() -> None:
    hold(
        "What a room's __init__ does belongs into a module of its own.",
        (
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for module, path in modules().items()
            if path.name == "__init__.py" and module != THE_DOOR
            for node in ast.parse(path.read_text(encoding="utf-8")).body[1:]
            if not isinstance(node, ast.Import | ast.ImportFrom)
            and not (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "__all__"
            )
        ),
    )


def test_imports_go_down_only() -> None:
    hold(
        "A room imports what is beneath it: move what is needed down, or hand it in from above.",
        (f"{where(one)} ({room_of(one.importer)} -> {room_of(one.target)})" for one in all_imports() if goes_up(one)),
    )


def test_imports_make_no_circle() -> None:
    if found := circle(all_imports()):
        pytest.fail("Imports make a circle: " + " <- ".join(found) + "\nMove what both need down.", pytrace=False)


def test_the_package_never_imports_recipes_or_images() -> None:
    hold(
        "vmtasks never imports recipes or images: data crosses by name.",
        (
            where(one)
            for one in all_imports()
            if is_inside(one.importer, "vmtasks") and one.target.partition(".")[0] in {"recipes", "images", "tasks"}
        ),
    )


def test_recipes_leave_each_others_inside_alone() -> None:
    hold(
        "A recipe may call another one, but not reach into it: make what both need part of vmtasks.",
        (
            f"{where(one)}.{one.name}"
            for one in all_imports()
            if is_inside(one.importer, "recipes") and is_inside(one.target, "recipes") and one.name.startswith("_")
        ),
    )


def test_foreign_packages_stay_in_their_rooms() -> None:
    hold(
        "What comes from outside is for few rooms only: "
        + ", ".join(f"{subject} for {' and '.join(rooms)}" for subject, rooms in ONLY_IN.items()),
        (
            where(one)
            for one in all_imports()
            for package, rooms in ONLY_IN.items()
            if is_inside(one.target, package)
            and not one.is_for_types
            and not any(is_inside(one.importer, room) for room in rooms)
        ),
    )


def reached_from(program: str) -> dict[str, Import | None]:
    """Return what is imported as a program starts, by way of which import: those at the top of modules, no others."""
    found: dict[str, Import | None] = {program: None}
    todo = [program]
    while todo:
        module = todo.pop()
        if module not in modules():
            continue
        source = modules()[module].read_text(encoding="utf-8")
        top = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        lines = {node.lineno for node in top}
        for one in imports_of(module, source, modules()):
            for target in {one.target, one.target.rpartition(".")[0]} - {"", THE_DOOR}:
                if one.line in lines and target not in found and (target == one.target or target in modules()):
                    found[target] = one
                    todo.append(target)
    return found


def test_what_runs_alone_needs_only_the_standard_library() -> None:
    hold(
        f"{', '.join(PROGRAMS)} run with the standard library and modules of ours that need no more.",
        (
            f"{where(one)}, which {program} reaches"
            for program, allowed in PROGRAMS.items()
            for target, one in reached_from(program).items()
            if one
            and not is_ours(target)
            and target not in allowed
            and target.partition(".")[0] not in sys.stdlib_module_names
        ),
    )


def test_a_class_has_a_name_of_its_own() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(module)
    hold(
        "One name, one class: give each of these a name of its own.",
        (f"{name}: {', '.join(found)}" for name, found in homes.items() if len(found) > 1),
    )


def test_modules_stay_small() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in modules().items()
        if module not in MAY_BE_LONGER
    }
    hold(
        f"A module has at most {LONGEST_MODULE_LINES} lines: find the two ideas in it and part them.",
        (
            f"{path.relative_to(ROOT)}: {length} lines"
            for path, length in lengths.items()
            if length > LONGEST_MODULE_LINES
        ),
    )


def test_functions_stay_short() -> None:
    hold(
        f"A function has at most {LONGEST_FUNCTION_LINES} lines without its docstring: part it where its steps part.",
        (
            f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines"
            for module, path in modules().items()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := length_of(node)) > LONGEST_FUNCTION_LINES
            and f"{module}.{node.name}" not in FUNCTIONS_THAT_MAY_BE_LONGER
        ),
    )


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has, without those of its docstring."""
    first = function.body[0]
    docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def renames(source: str) -> Iterator[int]:
    """Yield the lines in which a file gets its name, as opposed to text that is replaced, or a field."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        of, name = node.func.value, node.func.attr
        of_module = of.id if isinstance(of, ast.Name) else ""
        by_module = of_module in {"os", "shutil"} and name in {"rename", "renames", "replace", "move"}
        by_path = name in {"rename", "replace"} and len(node.args) == 1 and not node.keywords
        if by_module or (by_path and of_module not in {"dataclasses", "durable"}):
            yield node.lineno


def test_a_file_gets_its_name_once_it_is_on_the_disk() -> None:
    hold(
        "Give names by vmtasks.files.durable.rename, or a power cut leaves a name without its content.",
        (
            f"{path.relative_to(ROOT)}:{line}"
            for module, path in modules().items()
            if module not in MAY_RENAME
            for line in renames(path.read_text(encoding="utf-8"))
        ),
    )


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("os.rename(one, other)", True),
        ("os.replace(one, other)", True),
        ("shutil.move(one, other)", True),
        ("path.rename(other)", True),
        ("beside.with_name(name).replace(path)", True),
        ("durable.rename(one, other)", False),
        ("text.replace(one, other)", False),
        ("date.replace(tzinfo=UTC)", False),
        ("replace(machine, name=name)", False),
    ],
)
def test_a_rename_is_seen(source: str, is_one: bool) -> None:
    assert list(renames(source)) == [1] * is_one


def pages_in_messages(source: str) -> Iterator[int]:
    """Yield the lines of texts, those of documentation aside, that name a page of the documents by its file."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
        if is_text and re.search(r"\bdocs/[\w.-]+\.md", node.value):
            yield node.lineno


def test_messages_name_pages_that_an_installed_vmtasks_has() -> None:
    hold(
        "there is no docs/ where vmtasks is installed: vmtasks.config.here.page has what a message says",
        (
            f"{path}:{line}"
            for path in modules().values()
            for line in pages_in_messages(path.read_text(encoding="utf-8"))
        ),
    )


def test_a_page_in_a_message_is_seen() -> None:
    source = '"""See docs/a.md."""\nx = "see docs/a.md"\ny = f"{x} (docs/a-b.md)"\n# docs/c.md\nz = page("a")\n'
    assert [*pages_in_messages(source)] == [2, 3]


def test_names_say_something() -> None:
    hold(
        "Name a module by its idea; these names fit everything and so say nothing.",
        (
            f"{path.relative_to(ROOT)}"
            for module, path in modules().items()
            if NAMES_THAT_SAY_NOTHING & set(re.split(r"[._]", module))
        ),
    )


def test_no_file_names_a_registry_or_somebodys_machine() -> None:
    hold(
        "Files name no package registry's host and no path of the machine that they were written on.",
        (
            f"{path.relative_to(ROOT)}:{number}: {word}: {reason}"
            for path in text_files()
            for number, word, reason in forbidden_words(
                path.read_text(encoding="utf-8", errors="replace"), BELONGS_NOWHERE
            )
        ),
    )


def pinned(lock: Path) -> list[tuple[str, str]]:
    return re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_locks_pin_every_dependency() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    extras = project["optional-dependencies"]
    dev = extras.pop("dev")
    wanted = {
        "requirements.lock": [*project["dependencies"], *dev, *settings["build-system"]["requires"]],
        **{f"requirements-{name}.lock": requirements for name, requirements in extras.items()},
    }
    missing = [
        f"{lock}: {name}"
        for lock, requirements in wanted.items()
        for name in (re.split(r"[^\w.-]", requirement)[0] for requirement in requirements)
        if name not in dict(pinned(ROOT / lock))
    ]
    hold("The locks pin what pyproject.toml asks for: run `make lock`.", missing)


def test_the_locks_agree() -> None:
    versions: dict[str, set[str]] = {}
    for lock in ROOT.glob("requirements*.lock"):
        for name, version in pinned(lock):
            versions.setdefault(name, set()).add(version)
    hold("One package, one version: run `make lock`.", (name for name, found in versions.items() if len(found) > 1))


# The checks above are worth something only if they can fail.


def test_an_import_that_goes_up_is_seen() -> None:
    known = {"vmtasks.machine", "vmtasks.errors"}
    imports = [
        one
        for source in (
            "import vmtasks.machine",
            "from vmtasks import machine",
            "from vmtasks import boot",
            "from vmtasks import apt",
            "from vmtasks import errors",
            "machine = 1",
        )
        for one in imports_of("vmtasks.qemu.argv", source, known)
    ]
    wrong = ["vmtasks.machine", "vmtasks.machine", "vmtasks.providers.boot", "vmtasks.debian.apt"]
    assert [one.target for one in imports if goes_up(one)] == wrong


def test_a_circle_is_seen_also_inside_functions() -> None:
    one_way = list(imports_of("vmtasks.spec", "from vmtasks.config.toml import read", ()))
    assert circle(one_way) == []
    back = list(imports_of("vmtasks.config.toml", "def late():\n    import vmtasks.spec", ()))
    assert set(circle([*one_way, *back])) == {"vmtasks.spec", "vmtasks.config.toml"}


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("mirror = http://deb" + ".debian.org/debian", True),
        ("cd /roo" + "t/build", True),
        ("see /wor" + "k/notes", True),
        ("/roo" + "t/.ssh/authorized_keys in the guest", False),
        ("its own network/wor" + "k/place", False),
    ],
)
def test_forbidden_words_are_seen(line: str, is_wrong: bool) -> None:
    assert bool(list(forbidden_words(line, BELONGS_NOWHERE))) == is_wrong
