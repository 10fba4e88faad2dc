"""What tools in a guest are told, so that they fetch as this host's do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmtasks.project import Project, fetching, pip

THERE = "/build/.authorities.pem"


class Guest:
    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def put(self, source: Path, target: str) -> None:
        self.files[target] = source.read_text()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a directory with what this host trusts."""
    (tmp_path / "added/below").mkdir(parents=True)
    (tmp_path / "all.crt").write_text("all of them\n")
    monkeypatch.setattr(fetching, "_ADDED", tmp_path / "added")
    monkeypatch.setattr(fetching, "_ALL", tmp_path / "all.crt")
    monkeypatch.setattr(pip, "_config", lambda: (f"global.cert='{tmp_path}/all.crt'",))
    return tmp_path


def env_of(guest: Any, project: Path, **files: str) -> dict[str, str]:
    project.mkdir()
    for name, text in files.items():
        (project / name.replace("_", ".")).write_text(text)
    return fetching.env(guest, Project.load(project, {}))


def test_a_host_that_trusts_what_all_do_has_nothing_to_tell(host: Path) -> None:
    guest = Guest()
    assert env_of(guest, host / "project", package_json="{}") == {}
    assert guest.files == {}


def test_authorities_that_were_added_travel_with_all_others(host: Path) -> None:
    (host / "added/below/proxy.crt").touch()
    guest = Guest()
    env = env_of(guest, host / "project", package_json="{}")
    assert {env["NODE_EXTRA_CA_CERTS"], env["CARGO_HTTP_CAINFO"], env["SSL_CERT_FILE"]} == {THERE}
    assert guest.files == {THERE: "all of them\n"}


def test_pip_goes_by_its_own_settings(host: Path) -> None:
    (host / "added/proxy.crt").touch()
    env = env_of(Guest(), host / "project", pyproject_toml='[project]\nname = "p"\nversion = "1"\n')
    assert env["PIP_CERT"] == "/build/.pip.pem"
    assert env["SSL_CERT_FILE"] == THERE


def test_authorities_without_a_bundle_are_none(host: Path) -> None:
    (host / "added/proxy.crt").touch()
    (host / "all.crt").unlink()
    assert env_of(Guest(), host / "project", package_json="{}") == {}
