"""A profile: what is sampled of a machine while a block runs, and what it comes to afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vmtasks.profile.plot import plot
from vmtasks.profile.sample import Counters, Sample
from vmtasks.profile.sample_log import SampleLog
from vmtasks.profile.table import NOT_SUPPORTED, table
from vmtasks.profile.usage import Ending, Usage, usage_of

_COUNTED_AT_THE_END = ("perf", "pss")
_NOT_YET = "it is counted at the end, which has not come"
_LEAST_SAMPLES = 2
"""Between which there is a difference."""


class Profile:
    """What a machine takes of its host; in the block, what has come of it until now.

    :param machine: the machine's name.
    :param log: has its samples.
    :param reason: why there are to be none.
    """

    def __init__(self, machine: str, log: SampleLog, reason: str = "") -> None:
        self.machine = machine
        self._log = log
        self._reason = reason
        self._ending = Ending(not_supported=dict.fromkeys((*_COUNTED_AT_THE_END, "network"), _NOT_YET))
        self.files: tuple[Path, ...] = ()
        """What was written: samples as JSON Lines, the table, the picture."""

    @property
    def reason(self) -> str:
        """Why nothing could be counted; empty: something was."""
        if self._reason or len(self.samples) >= _LEAST_SAMPLES:
            return self._reason
        return "fewer than two samples have come"

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples; of many, some at equal distances."""
        return self._log.samples

    @property
    def usage(self) -> Usage | None:
        """What they come to; None: nothing could be counted, see :attr:`reason`."""
        if self.reason:
            return None
        ending = replace(self._ending, cost_s=self._ending.cost_s + self._log.cost_s)
        return usage_of(self.samples, ending, self._log.totals)

    def table(self) -> str:
        """Return all that was counted as a table, and for what was not, why."""
        usage = self.usage
        return f"{NOT_SUPPORTED}: {self.reason}\n" if usage is None else table(self.machine, usage)

    def svg(self) -> str:
        """Return a picture of what was counted over time; empty where nothing was."""
        return "" if self.reason else plot(self.machine, self.samples)

    def end(self, ending: Ending) -> None:
        """Have it end with what was counted once."""
        self._ending = ending

    def break_off(self, reason: str) -> None:
        """Have it end with the last sample that has come, for a *reason*."""
        self.end(Ending(not_supported=dict.fromkeys(_COUNTED_AT_THE_END, reason)))
        if len(self.samples) < _LEAST_SAMPLES:
            self._reason = reason

    def add_traffic(self, network: Mapping[str, Counters] | None, reason: str = "") -> None:
        """Add what the guest counted of its network cards; None: nothing, for a *reason*."""
        not_supported = {} if network is not None else {"network": reason}
        self._ending = replace(
            self._ending, network=network, not_supported={**self._ending.not_supported, **not_supported}
        )

    def write(self, stem: Path) -> str:
        """Write table and picture beside the samples, and return why that could not be done; empty: it could."""
        texts = {stem.with_name(f"{stem.name}.txt"): self.table(), stem.with_name(f"{stem.name}.svg"): self.svg()}
        written = [self._log.file] if self._log.file and not self._log.error else []
        try:
            for path, text in texts.items():
                if text:
                    path.write_text(text, encoding="utf-8")
                    written.append(path)
        except OSError as problem:
            return f"cannot write {problem.filename}: {problem.strerror}"
        finally:
            self.files = tuple(written)
        return self._log.error
