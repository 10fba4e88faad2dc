"""The host that machines run on: what is to be done to its files, is done there.

This one is the plain case: a call is a call. :mod:`vmtasks.remote` has the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, TypeVar

from vmtasks.config.paths import cache_dir
from vmtasks.process.isolated import isolated_argv
from vmtasks.spec import LOCAL

PIECE_BYTES = 32 * 1024
"""How much of a file one call takes to another host: so little, and so few of them on their way, that signs of life get
through a slow link between them."""
Options = ParamSpec("Options")
Result = TypeVar("Result")


class Host:
    """This host."""

    name = LOCAL
    """As ``--on`` has it."""

    @property
    def is_local(self) -> bool:
        """Whether its files are ours to open."""
        return self.name == LOCAL

    def cache(self) -> Path:
        """Return the directory there of what can be made again."""
        return cache_dir()

    def call(self, function: Callable[Options, Result], *args: Options.args, **options: Options.kwargs) -> Result:
        """Call *function* there.

        :raise HostError: the host cannot be reached any more, besides what *function* raises.
        """
        return function(*args, **options)

    def each(self, function: Callable[..., object], calls: Iterable[tuple[object, ...]]) -> None:
        """Call *function*, which is done in no time, there with each of many arguments, in their order."""
        for arguments in calls:
            self.call(function, *arguments)

    def enter(
        self,
        manager: Callable[Options, AbstractContextManager[Result]],
        *args: Options.args,
        **options: Options.kwargs,
    ) -> AbstractContextManager[Result]:
        """Return a block that is within the block of *manager* there."""
        return manager(*args, **options)

    def program(self, module: str) -> list[str]:
        """Return the command line that runs a program of ours there, its standard input and output being here.

        :param module: has its ``main()``. It reads and says JSON, a value a line; what it says has an ``event``.
        """
        return isolated_argv(module)


LOCAL_HOST = Host()
