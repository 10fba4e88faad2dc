"""Where things are: what cannot be the name of a file is said before anything is made of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vmtasks.config.paths import cache_dir, expanded, is_at
from vmtasks.errors import UsageError


@pytest.mark.parametrize("name", ["with blank", "50%", "%h", "a'b", "a,b=c", "ünïcode", "$HOME;*[]", "~"])
def test_a_cache_may_be_called_almost_anything(name: str) -> None:
    assert cache_dir({"VMTASKS_CACHE": f"/x/{name}"}) == Path(f"/x/{name}")
    assert cache_dir({"XDG_CACHE_HOME": f"/x/{name}"}) == Path(f"/x/{name}/vmtasks")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "line\nfeed", "${HOME}", "\x1b[1m", "a" * 5000])
def test_a_cache_that_ssh_could_not_find_is_refused(name: str) -> None:
    for environ in ({"VMTASKS_CACHE": f"/x/{name}"}, {"XDG_CACHE_HOME": f"/x/{name}"}, {"HOME": f"/x/{name}"}):
        with pytest.raises(UsageError, match="cannot keep the cache in ") as refusal:
            cache_dir(environ)
        assert len(str(refusal.value)) < 500
        assert "\n" not in str(refusal.value)


def test_a_home_is_somebodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/tester")
    assert expanded("~/x") == Path("/home/tester/x")
    with pytest.raises(UsageError, match="cannot find ~nobody-at-all/x: this host knows no home of that user"):
        expanded("~nobody-at-all/x")


def test_there_is_nothing_with_a_nul_in_its_name() -> None:
    assert not is_at(Path("a\0b"))


def test_a_name_that_no_file_has_is_a_usage_error(tmp_path: Path) -> None:
    assert is_at(tmp_path)
    assert is_at(tmp_path, stat.S_ISDIR)
    assert not is_at(tmp_path, stat.S_ISREG)
    assert not is_at(tmp_path / "missing")
    with pytest.raises(UsageError, match="File name too long"):
        is_at(tmp_path / ("a" * 5000))
