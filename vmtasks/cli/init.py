"""The first minute with a project: what it is, written down, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

if TYPE_CHECKING:
    from collections.abc import Mapping


@task(
    help={
        "source": "the project's directory",
        "ci": "also write the file for a CI: github, gitlab, buildbot or salsa",
        "make": "also write a file with the target test-in-vm, for a makefile to include",
    },
    auto_shortflags=False,
)
def init(_: Context, source: str = ".", ci: str = "", make: bool = False) -> None:
    """Write down how this project is tested: a vmtasks.toml of a few lines; nothing is overwritten."""
    from vmtasks.errors import UsageError, did_you_mean
    from vmtasks.project.ci import CI, MAKE
    from vmtasks.project.project import Project
    from vmtasks.project.written import settings_file

    if ci and ci not in CI:
        raise UsageError(
            f"there is no CI '{ci}' that vmtasks has a file for; known are {', '.join(CI)}",
            hint=did_you_mean(ci, CI, otherwise="in any other, the line to call is `vmtasks test`"),
        )
    root = Path(source)
    project = Project.load(root, {})
    if ci == "salsa" and not project.is_packaged:
        raise UsageError(
            f"{root.resolve().name} has no debian/control: what Salsa CI runs is for Debian packages",
            hint="--ci gitlab writes a file for any GitLab, Salsa too",
        )
    templates = [*([CI[ci]] if ci else []), *([MAKE] if make else [])]
    files = {template.path: template.text for template in templates}
    if not templates or not (root / "vmtasks.toml").exists():
        files = {"vmtasks.toml": settings_file(project), **files}
    _write(root, files)
    version = f" {project.version}" if project.version else ""
    print(f"{project.name}{version}: {project.detected.kind if project.detected else 'of no kind that is known'}")
    for name, text in files.items():
        print(f"wrote  {name} ({text.count(chr(10))} lines)")
    for template in templates:
        print(f"then   {template.then}")
    if project.is_packaged or project.commands.test:
        print("next   vmtasks test")
    else:
        print("next   say in vmtasks.toml what tests it; then vmtasks test")


def _write(root: Path, files: Mapping[str, str]) -> None:
    """Write new files, all of them or none.

    :raise UsageError: one of them is there, or cannot be written.
    """
    import os

    from vmtasks.errors import UsageError

    if there := [name for name in files if os.path.lexists(root / name)]:
        raise UsageError(
            f"cannot write {' and '.join(there)}: it is there already, and stays as it is",
            details=tuple(line for name in there if name != "vmtasks.toml" for line in files[name].splitlines()),
            hint="`vmtasks config` shows what holds"
            if there == ["vmtasks.toml"]
            else "take over from it what you need",
        )
    for name, text in files.items():
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            with (root / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as problem:
            raise UsageError(f"cannot write {root / name}: {problem.strerror}") from problem
