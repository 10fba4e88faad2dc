"""What a keeper answers to the call that started it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from vmtasks.errors import HostError
from vmtasks.named import keeper
from vmtasks.process.signals import InterruptedBySignal


def test_an_interrupt_is_what_it_answers_though_what_it_cleans_up_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(*_: object) -> None:
        try:
            raise InterruptedBySignal("interrupted by SIGTERM")
        finally:
            raise HostError("cannot tidy up")

    monkeypatch.setattr(keeper, "_keep", keep)
    answer = os.open(tmp_path / "answer", os.O_WRONLY | os.O_CREAT)
    display = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "argv", ["keeper", str(answer), str(display)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(keeper.Order(name="web", image="bookworm", ttl_s=60).to_json()))
    with pytest.raises(HostError, match="tidy up"):
        keeper.main()
    assert json.loads((tmp_path / "answer").read_text())["kind"] == "Interrupted"
