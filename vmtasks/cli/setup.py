"""The system's packages that vmtasks needs, for users without a checkout with a ``make setup``."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task


@task(help={"yes": "install what is missing, without a question"}, auto_shortflags=False)
def setup(_: Context, yes: bool = False) -> None:
    """Tell which system packages are missing, and the line that installs them; --yes runs it."""
    from vmtasks import bootstrap
    from vmtasks.errors import HostError

    missing = bootstrap.missing_packages(bootstrap.needed_packages())
    if not missing:
        print("all system packages that vmtasks needs are installed")
        return
    for name in missing if not yes else ():
        print(f"missing: {name} ({bootstrap.PACKAGES[name]})")
    try:
        if not yes:
            hint = f"`vmtasks setup --yes` installs them; or run: {bootstrap.install_line(missing)}"
            raise bootstrap.Unready(f"{len(missing)} system packages are missing", hint=hint)
        bootstrap.install_packages(missing)
    except bootstrap.Unready as problem:
        raise HostError(str(problem), details=problem.details, hint=problem.hint) from problem
