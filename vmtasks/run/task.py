"""Recipes: Invoke tasks that run in machines, and end in a typed outcome with everything written down.

A recipe is a function that takes a :class:`Run` and some options::

    @recipe
    def greet(run: Run, image: str = "bookworm") -> None:
        \"\"\"Say hello from a clean machine.

        :param image: the image to boot.
        \"\"\"
        with run.boot(image) as guest:
            guest.succeed(["echo", "hello"])

The decorator makes a task of it: its options (and those that every recipe has, :class:`RecipeOptions`) are those of
the command line, its docstring is the help. A recipe calls another by handing on its run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from functools import update_wrapper
from typing import Any, overload

from invoke.context import Context
from invoke.tasks import Task

from vmtasks.run.matrix import is_matrix
from vmtasks.run.options import PAIRS, PAIRS_HELP, RecipeOptions, option, own_numbers, own_option
from vmtasks.run.record import run_recorded
from vmtasks.run.run import Run


class Recipe(Task[Callable[..., Any]]):
    """An Invoke task around a function of a run."""

    def __init__(self, body: Callable[..., Any], *, iterable: tuple[str, ...] = (), pairs: bool = False) -> None:
        self.recipe_body = body
        task, shown = self._as_task(body, pairs=pairs), _help(body) | ({PAIRS.name: PAIRS_HELP} if pairs else {})
        super().__init__(task, help=shown, iterable=list(iterable), auto_shortflags=False)

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Run inside another recipe's run, or as the task that Invoke calls."""
        if args and isinstance(args[0], Run):
            return self.recipe_body(*args, **options)
        return super().__call__(*args, **options)

    def _as_task(self, body: Callable[..., Any], *, pairs: bool) -> Callable[..., Any]:
        name = body.__name__.replace("_", "-")

        def task(_: Context, **options: Any) -> Any:  # noqa: ANN401
            if not is_matrix(options):
                return one_run(options)
            from vmtasks.run.fan_out import fan_out

            own_numbers(inspect.signature(body), options)  # they are wrong for all runs, or for none
            return fan_out(name, options, inspect.signature(task), one_run)

        def one_run(options: dict[str, Any]) -> Any:  # noqa: ANN401
            flags = RecipeOptions.taken_from(options)
            options.pop(PAIRS.name, None)  # the flags have the pair
            options = own_numbers(inspect.signature(body), options)
            with run_recorded(name, flags, source=str(options.get("source") or "")) as run:
                return body(run, **options)

        update_wrapper(task, body)
        task.__doc__ = (inspect.getdoc(body) or "").partition(":param")[0].rstrip()  # the options' help has the rest
        # What is keyword-only is for recipes that call this one, and no option of the command line.
        parameters = inspect.signature(body).parameters.values()
        own = [own_option(one) for one in parameters if one.kind is not one.KEYWORD_ONLY]
        own += [PAIRS] if pairs else []
        task.__signature__ = inspect.Signature([*own, *map(option, fields(RecipeOptions))])  # type: ignore[attr-defined]
        return task


@overload
def recipe(body: Callable[..., Any]) -> Recipe: ...


@overload
def recipe(*, iterable: tuple[str, ...] = (), pairs: bool = False) -> Callable[[Callable[..., Any]], Recipe]: ...


def recipe(
    body: Callable[..., Any] | None = None, *, iterable: tuple[str, ...] = (), pairs: bool = False
) -> Recipe | Callable[[Callable[..., Any]], Recipe]:
    """Make a recipe of a function; see the module's docstring.

    :param iterable: the options that may be given more than once; they come as a list.
    :param pairs: whether its machines are a group of a server and a client, which may be two existing hosts: it has
        the option ``--pairs``.
    """
    if body is None:
        return lambda function: Recipe(function, iterable=iterable, pairs=pairs)
    return Recipe(body)


def common_options() -> frozenset[str]:
    """Return the names of the options that every recipe has."""
    return frozenset(flag.name for flag in fields(RecipeOptions))


def _help(body: Callable[..., Any]) -> dict[str, str]:
    """Take the options' help from the docstring's ``:param:`` lines, and from the common flags."""
    documented = re.findall(r":param (\w+):\s*((?:.|\n)*?)(?=\n\s*(?::|\n|$)|\Z)", inspect.getdoc(body) or "")
    options = [name for name, one in inspect.signature(body).parameters.items() if one.kind is not one.KEYWORD_ONLY]
    own = {name: " ".join(text.split()) for name, text in documented if name in options}
    if "image" in own:
        own["image"] = f"{own['image'].rstrip('.')}; with several (bookworm,trixie), a run for each"
    return own | {flag.name: str(flag.metadata["help"]) for flag in fields(RecipeOptions)}
