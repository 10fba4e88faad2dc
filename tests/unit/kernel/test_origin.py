"""What ``--kernel`` may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.kernel.origin import KernelFile, KernelUrl, sources_of

SUM = "0123456789abcdef" * 4
URL = "https://example.org/kernel-core.rpm"


@pytest.mark.parametrize("name", ["linux-image-rt-amd64", "linux-image-6.1.0-56-cloud-amd64", "linux-image-6.12+x"])
def test_what_is_no_path_is_a_package_whatever_lies_about(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert sources_of(name) == ()


@pytest.mark.parametrize(
    "name", ["linux.deb", "../linux-6.12", "./bzImage", ".", "..", "a.tar", "a.tar.zst", "a.tgz", "/boot/vmlinuz-6.1"]
)
def test_a_slash_or_an_ending_makes_a_path(name: str) -> None:
    assert sources_of(name) == (KernelFile(path=Path(name)),)


def test_a_home_is_found_also_where_the_shell_does_not() -> None:
    assert sources_of("~/linux") == (KernelFile(path=Path.home() / "linux"),)


def test_several_names_have_commas_between_them_and_each_is_a_file_or_an_address() -> None:
    assert sources_of(f"./core.rpm,{URL}#sha256={SUM}") == (
        KernelFile(path=Path("core.rpm")),
        KernelUrl(url=URL, sha256=SUM),
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Linux 6.1", "neither a file or directory, nor an address, nor the name of a Debian package"),
        ("bzImage", "neither a file"),
        ("", "neither a file"),
        (
            "core.rpm,linux-image-amd64",
            "'linux-image-amd64': of several names with commas, each is a file",
        ),
        ("core.rpm,", "cannot take a kernel from ''"),
        (URL, f"cannot fetch the kernel {URL}: nothing says what must come"),
        (f"{URL}#sha256={SUM[1:]}", "nothing says what must come"),
        (f"{URL}#sha256={SUM.upper()}", "nothing says what must come"),
        (f"{URL}#md5={SUM}", "nothing says what must come"),
    ],
)
def test_what_is_none_of_these_is_a_sentence(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        sources_of(name)


def test_a_home_of_nobodys_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="this host knows no home of that user"):
        sources_of("~nobody-at-all/linux")
