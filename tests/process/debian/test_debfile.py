"""Which packages are meant by files, .changes files and directories: real packages, made by dpkg-deb."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vmtasks.debian.debfile import find, read
from vmtasks.errors import HostError, UsageError

CONTROL = b"Package: tiny\nVersion: 1.0\nArchitecture: all\n"


def made(path: Path, name: str, version: str = "1.0", architecture: str = "all", more: str = "") -> Path:
    """Make a package that is empty but for its control file."""
    with TemporaryDirectory() as tree:
        control = Path(tree, "DEBIAN", "control")
        control.parent.mkdir(mode=0o755)
        control.write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{more}"
            "Maintainer: A Tester <tester@example.org>\nDescription: a package\n"
        )
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, path], check=True)
    return path


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    made(tmp_path / "one_1.0_amd64.deb", "one", architecture="amd64")
    made(tmp_path / "one-dbgsym_1.0_amd64.deb", "one-dbgsym", more="Auto-Built-Package: debug-symbols\n")
    made(tmp_path / "two_1.0_all.deb", "two")
    return tmp_path


def names(*given: Path) -> dict[str, Path]:
    return {name: package.path for name, package in find(list(map(str, given))).items()}


def test_a_directory_stands_for_its_packages_but_those_for_debuggers(debs: Path) -> None:
    assert names(debs) == {"one": debs / "one_1.0_amd64.deb", "two": debs / "two_1.0_all.deb"}


def test_a_package_is_what_its_control_file_says_whatever_its_file_is_called(tmp_path: Path) -> None:
    path = made(tmp_path / "tiny-1.0-Linux.deb", "tiny", version="1:2.0~rc1-1", more="Essential: yes\n")
    (package,) = find([str(path)]).values()
    assert (package.name, package.version, package.architecture) == ("tiny", "1:2.0~rc1-1", "all")
    assert package.must_stay
    assert read(made(tmp_path / "stays.deb", "stays", more="Protected: yes\n")).must_stay
    assert read(made(tmp_path / "important.deb", "important", more="Important: Yes\n")).must_stay  # e2fsprogs is so
    assert not read(made(tmp_path / "goes.deb", "goes", more="Protected: no\n")).must_stay


@pytest.mark.parametrize("version", ["0:1.0-1", "00:1.0", "01:1.0", "1.0-0", "1:1.0~rc1+b1"])
def test_a_version_is_what_dpkg_tells_of_it(tmp_path: Path, version: str) -> None:
    path = made(tmp_path / "tiny.deb", "tiny", version=version)
    shown = subprocess.run(["dpkg-deb", "--field", path, "Version"], check=True, capture_output=True, text=True).stdout
    assert read(path).version == shown.strip()


def test_debug_symbols_are_known_by_what_made_them_and_not_by_a_name(tmp_path: Path) -> None:
    assert set(names(made(tmp_path / "a.deb", "about-dbgsym"))) == {"about-dbgsym"}


def test_a_file_that_is_named_more_than_once_is_one(debs: Path) -> None:
    changes = debs / "one_1.0_amd64.changes"
    changes.write_text("Checksums-Sha256:\n 00 1 one_1.0_amd64.deb\nFiles:\n 00 1 one_1.0_amd64.deb\n")
    linked = debs.with_name(f"{debs.name}-linked")
    linked.symlink_to(debs)
    assert names(changes) == {"one": debs / "one_1.0_amd64.deb"}
    assert set(names(debs, changes, linked)) == {"one", "two"}


def test_two_files_of_one_name_cannot_both_be_there(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made(tmp_path / name / "package.deb", name)
    with pytest.raises(UsageError, match=r"cannot install .*one/package\.deb and .*two/package\.deb: two packages in"):
        names(tmp_path / "one", tmp_path / "two")


def test_a_file_that_changes_does_not_mean_is_refused(debs: Path) -> None:
    changes, deb = debs / "one_1.0_amd64.changes", debs / "one_1.0_amd64.deb"
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    changes.write_text(f"Checksums-Sha256:\n {digest} {deb.stat().st_size} {deb.name}\nFiles:\n 00 1 x {deb.name}\n")
    assert names(changes) == {"one": deb}
    made(deb, "one", version="1.1", architecture="amd64")
    with pytest.raises(UsageError, match=r"not the file that one_1\.0_amd64\.changes names") as problem:
        names(changes)
    assert "name the .deb files themselves" in problem.value.hint


@pytest.mark.parametrize(("version", "architecture"), [("1.1", "amd64"), ("0.9", "amd64"), ("1.0", "i386")])
def test_two_files_of_one_package_are_one_too_many(debs: Path, version: str, architecture: str) -> None:
    other = made(debs / f"other-name-{version}.deb", "one", version=version, architecture=architecture)
    with pytest.raises(UsageError, match="they are one package, one") as caught:
        find([str(debs)])
    assert str(other) in str(caught.value)
    assert str(debs / "one_1.0_amd64.deb") in str(caught.value)


def test_what_is_not_there_is_named(debs: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot install .*/three_1.0_all.deb: there is no such file"):
        find([str(debs / "three_1.0_all.deb")])


@pytest.mark.parametrize("content", [b"", b"!<arch>\n", b"no package at all\n"])
def test_what_is_no_package_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.deb"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read .*broken.deb: .*\S"):
        find([str(path)])


def hand_made(path: Path, control: bytes = CONTROL, *, name: str = "./control", more: bytes = b"") -> Path:
    """Make a .deb file of parts, as dpkg-deb would make none."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for member, content in ((name, control), *((("./more", more),) if more else ())):
            header = tarfile.TarInfo(member)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": stream.getvalue(), "data.tar": bytes(10240)}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for part, content in parts.items():
            file.write(f"{part:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


def test_nothing_is_unpacked_on_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))  # dpkg-deb would complain
    path = hand_made(tmp_path / "tiny.deb", more=bytes(64 * 1024 * 1024))
    assert path.stat().st_size < 1024 * 1024
    assert read(path).name == "tiny"
    assert read(hand_made(tmp_path / "plain.deb", name="control")).version == "1.0"


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (CONTROL.replace(b"tiny", b"ti'ny"), 'field Package is "ti\'ny"'),
        (CONTROL.replace(b"tiny", b"--tiny"), "field Package is '--tiny'"),
        (CONTROL.replace(b"1.0", b"1.0;x"), "field Version is '1.0;x'"),
        (CONTROL.replace(b"Architecture", b"Arch"), "field Architecture is missing"),
        (CONTROL + b"Recommends: a, b'\\\\\n", "it recommends "),
        (CONTROL + b"Description: " + b"x" * 300_000, "its control file has more than 256 KiB"),
        (b"", "it is no Debian package"),
    ],
)
def test_what_a_control_file_may_say_is_bounded(tmp_path: Path, control: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match="cannot read ") as caught:
        read(hand_made(tmp_path / "tiny.deb", control))
    assert reason in str(caught.value)


def test_what_is_recommended_may_stand_on_several_lines(tmp_path: Path) -> None:
    control = (
        b"package: tiny\nVersion: 1.0\nArchitecture: all\nRecommends: a (>= 1:2~rc1),\n b | c,\n d:any\nX: y\n e\n"
    )
    assert read(hand_made(tmp_path / "tiny.deb", control)).recommends == ("a (>= 1:2~rc1)", "b | c", "d:any")


def test_a_link_leads_to_a_package(tmp_path: Path) -> None:
    hand_made(tmp_path / "real.deb")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "tiny.deb").symlink_to("../real.deb")
    assert read(tmp_path / "link" / "tiny.deb").path == tmp_path / "link" / "tiny.deb"


def test_without_dpkg_deb_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hand_made(tmp_path / "tiny.deb")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="this host has no dpkg-deb"):
        read(path)


def test_no_packages_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no packages in"):
        find([str(tmp_path)])
