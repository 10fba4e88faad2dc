"""The documents, for users without a checkout with a docs/ to read in."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task


@task(name="help", help={"page": "its name: reference, vmtasks.toml, recipes …"}, auto_shortflags=False)
def help_(_: Context, page: str) -> None:
    """Print a page of the documents; of a task, what --help says."""
    from vmtasks.cli.overview import ALIASES, EXAMPLES
    from vmtasks.config.here import pages
    from vmtasks.errors import UsageError, did_you_mean

    known = pages()
    if page not in known:
        tasks = [line.partition(" ")[0] for lines in EXAMPLES.values() for line in lines]
        raise UsageError(
            f"there is no task and no page '{page}'; the pages are {', '.join(known)}",
            hint=did_you_mean(page, [*known, *tasks, *ALIASES], otherwise="`vmtasks --help` lists the tasks"),
        )
    print(known[page].read_text(encoding="utf-8"), end="")
