"""Kernels as they come, in files, directories and from addresses: unpacked once, kept, and told apart."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import lzma
import os
import random
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from invoke.context import Context

from tests.small_kernel import (
    MODULES,
    PACKERS,
    RELEASE,
    VERSION,
    bz_image,
    deb,
    kernel_files,
    laid,
    module,
    rpm,
    zstd,
)
from vmtasks.cli import images
from vmtasks.errors import HostError, UsageError
from vmtasks.image.baked import key_of
from vmtasks.image.definition import find
from vmtasks.kernel import compressed
from vmtasks.kernel.kept import Kernel, kernels_dir, prune
from vmtasks.kernel.layer import baking, with_kernel
from vmtasks.process.threads import parallel

IMAGE = f"boot/vmlinuz-{RELEASE}"
CORE = kernel_files(modules=MODULES[:2], below="usr/lib/modules", image="usr/lib/modules/{}/vmlinuz", suffix=".xz")
REST = {f"usr/lib/modules/{RELEASE}/kernel/{name}.ko.xz": PACKERS[".xz"](module(name)) for name in MODULES[2:]}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMTASKS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield a directory, and the address at which it is."""
    root = tmp_path / "served"
    root.mkdir()
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """What does not say which files it was asked for, and ends early with one that is called ``short``."""

    def do_GET(self) -> None:
        """Answer, perhaps with less than is stated."""
        if self.path != "/short":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"0123456789")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def tarball(files: Mapping[str, bytes], path: Path, *, below: str = "", pack: Callable[[bytes], bytes] = bytes) -> Path:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{below}{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    path.write_bytes(pack(stream.getvalue()))
    return path


def payload_of(kernel: Kernel) -> dict[str, bytes]:
    with tarfile.open(kernel.payload) as tar:
        members = tar.getmembers()
        assert {(one.uid, one.gid, one.mtime, one.isreg()) for one in members} == {(0, 0, 0, True)}
        return {one.name: file.read() for one in members if (file := tar.extractfile(one))}


def expect_whole(kernel: Kernel) -> None:
    """See that all of :func:`kernel_files` is there, with modules as they were before they were compressed."""
    content = payload_of(kernel)
    assert content.pop(IMAGE) == bz_image()
    for name in MODULES:
        assert content.pop(f"lib/modules/{RELEASE}/kernel/{name}.ko") == module(name)
    assert set(content) == {f"lib/modules/{RELEASE}/modules.{name}" for name in ("builtin", "order")}
    assert (kernel.release, kernel.version) == (RELEASE, VERSION)
    assert (kernel.facts.architecture, kernel.facts.modules, kernel.facts.missing) == ("amd64", len(MODULES), ())


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("below", ["lib/modules", "usr/lib/modules"])
def test_a_debian_package(suffix: str, below: str, tmp_path: Path) -> None:
    made = deb(kernel_files(suffix=suffix, below=below), tmp_path / "any name.deb")
    expect_whole(Kernel.get(str(made)))


@pytest.mark.parametrize("suffix", PACKERS)
def test_an_rpm_with_each_compression_of_its_payload(suffix: str, tmp_path: Path) -> None:
    expect_whole(Kernel.get(str(rpm(kernel_files(), tmp_path / "any name", suffix=suffix).rename(tmp_path / "k.rpm"))))


def test_an_rpm_of_rpmbuild(tmp_path: Path) -> None:
    if shutil.which("rpmbuild") is None:
        pytest.skip("there is no rpmbuild here: apt install rpm")
    tree = laid(CORE | REST, tmp_path / "tree")
    spec = tmp_path / "kernel.spec"
    spec.write_text(
        "Name: kernel-own\nVersion: 6.12.1\nRelease: 1\nSummary: k\nLicense: GPL\n%description\nk\n"
        f"%install\ncp -r {tree}/. %{{buildroot}}\n%files\n/usr\n%ghost /boot/vmlinuz-{RELEASE}\n"
    )
    settings = {"_topdir": tmp_path / "top", "_dbpath": tmp_path / "db", "__os_install_post": "%{nil}"}
    options = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    subprocess.run(
        ["rpmbuild", "-bb", "--target=x86_64-linux", *options, spec], check=True, capture_output=True, timeout=120
    )
    (made,) = (tmp_path / "top/RPMS").rglob("*.rpm")
    expect_whole(Kernel.get(str(made)))


def test_a_kernel_in_several_packages_by_their_names_or_by_their_directory(tmp_path: Path) -> None:
    room = tmp_path / "rpms"
    room.mkdir()
    core, rest = rpm(CORE, room / "kernel-core.rpm"), rpm(REST, room / "kernel-modules.rpm")
    expect_whole(by_name := Kernel.get(f"{rest},{core}"))
    assert Kernel.get(str(room)) == by_name
    with pytest.raises(UsageError, match=r"kernel-modules\.rpm has no kernel") as failure:
        Kernel.get(str(rest))
    assert "name all, with commas" in failure.value.hint
    deb({IMAGE: bz_image()}, tmp_path / "image.deb")
    modules = {name: content for name, content in kernel_files().items() if name != IMAGE}
    expect_whole(Kernel.get(f"{tmp_path}/image.deb,{deb(modules, tmp_path / 'modules.deb')}"))


@pytest.mark.parametrize("below", ["", "./", "linux-6.12.1/"])
@pytest.mark.parametrize("suffix", PACKERS)
def test_a_tarball_of_a_directory(below: str, suffix: str, tmp_path: Path) -> None:
    expect_whole(Kernel.get(str(tarball(kernel_files(), tmp_path / "k.tar", below=below, pack=PACKERS[suffix]))))


def test_a_directory_is_read_where_it_is_and_again_when_it_has_changed(tmp_path: Path) -> None:
    root = laid(kernel_files(suffix=".zst"), tmp_path / "own")
    expect_whole(first := Kernel.get(str(root)))
    assert Kernel.get(f"{root}/.") == first
    added = root / f"lib/modules/{RELEASE}/kernel/more.ko"
    added.write_bytes(b"\x7fELF more")
    changed = Kernel.get(str(root))
    assert changed.directory != first.directory
    assert changed.facts.modules == len(MODULES) + 1


def test_an_image_alone_is_a_kernel_without_modules(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(bz_image())
    kernel = Kernel.get(f"{tmp_path}/bzImage")
    assert payload_of(kernel) == {IMAGE: bz_image(), f"lib/modules/{RELEASE}/modules.order": b""}
    assert (kernel.facts.modules, kernel.facts.missing) == (0, None)


def test_a_module_whose_size_zstd_does_not_state_is_decompressed_too(tmp_path: Path) -> None:
    files = kernel_files(suffix=".zst")
    name = f"lib/modules/{RELEASE}/kernel/{MODULES[1]}.ko.zst"
    expect_whole(Kernel.get(str(laid(files | {name: zstd(module(MODULES[1]), states_size=False)}, tmp_path / "own"))))


def test_an_address_is_asked_once(served: tuple[Path, str], tmp_path: Path) -> None:
    root, address = served
    made = rpm(kernel_files(), root / "kernel.rpm")
    name = f"{address}/kernel.rpm#sha256={hashlib.sha256(made.read_bytes()).hexdigest()}"
    expect_whole(fetched := Kernel.get(name))
    moved = shutil.move(made, tmp_path / "kernel.rpm")
    assert Kernel.get(name) == fetched
    assert Kernel.get(str(moved)) == fetched


def test_what_comes_must_be_what_was_meant(served: tuple[Path, str]) -> None:
    root, address = served
    rpm(kernel_files(), root / "kernel.rpm")
    wanted = "0" * 64
    with pytest.raises(HostError, match=rf"cannot use the kernel {address}/kernel\.rpm: its sha256 is \w+, and 0"):
        Kernel.get(f"{address}/kernel.rpm#sha256={wanted}")
    with pytest.raises(HostError, match=rf"cannot download {address}/nowhere\.rpm: File not found"):
        Kernel.get(f"{address}/nowhere.rpm#sha256={wanted}")
    with pytest.raises(
        HostError, match=f"cannot download {address}/short: the connection ended after 10 of 1000 bytes"
    ):
        Kernel.get(f"{address}/short#sha256={wanted}")
    with pytest.raises(UsageError, match="that is no URL"):
        Kernel.get(f"http://[::x#sha256={wanted}")
    assert not list(kernels_dir().glob(".*.part"))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"usr/share/doc/readme": b"no kernel"}, "has no kernel"),
        (
            {"boot/vmlinuz-6.1": bz_image("6.1"), "boot/vmlinuz-6.12": bz_image("6.12")},
            "has several kernels: 6.1, 6.12",
        ),
        ({"boot/vmlinuz-6.1": b"an image\n"}, "vmlinuz-6.1 is no image that QEMU boots"),
        ({"boot/vmlinuz-6.1": bytes(0x38) + b"ARM\x64"}, "it is for arm64, and it must be for amd64 or i386"),
        (kernel_files() | {IMAGE: bz_image("6.12.2")}, f"its kernel is 6.12.2, and they are those of {RELEASE}"),
        (
            kernel_files() | {"lib/modules/6.11/kernel/a.ko": b""},
            f"its kernel is {RELEASE}, and they are those of 6.11",
        ),
    ],
)
@pytest.mark.parametrize("build", [deb, rpm, tarball])
def test_a_package_without_one_whole_kernel_is_a_sentence(
    build: Callable[[Mapping[str, bytes], Path], Path], files: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as failure:
        Kernel.get(str(build(files, tmp_path / "package")))
    assert says in str(failure.value)
    assert not list(kernels_dir().glob("[!.]*/"))


@pytest.mark.parametrize("length_bytes", [0, 4, 100, 150, 200])
def test_an_rpm_that_ends_in_its_headers_is_no_empty_one(length_bytes: int, tmp_path: Path) -> None:
    made = rpm(kernel_files(), tmp_path / "k.rpm")
    os.truncate(made, length_bytes)
    with pytest.raises(UsageError, match=r"cannot (?:read|unpack) the kernel \S+: \S+"):
        Kernel.get(str(made))


@pytest.mark.parametrize("part", [0.2, 0.6, 0.98])
@pytest.mark.parametrize("suffix", PACKERS)
def test_what_is_cut_short_is_a_sentence_and_leaves_nothing(part: float, suffix: str, tmp_path: Path) -> None:
    noise = {f"lib/modules/{RELEASE}/kernel/noise.ko": os.urandom(200_000)}  # which no compression makes small
    whole = [
        deb(kernel_files() | noise, tmp_path / "k.deb"),
        rpm(kernel_files() | noise, tmp_path / "k.rpm", suffix=suffix),
        tarball(kernel_files() | noise, tmp_path / "k.tar", pack=PACKERS[suffix]),
    ]
    for path in whole:
        content = path.read_bytes().rstrip(b"\0")  # tar has zeros behind its end
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(UsageError, match=r"cannot (?:read|unpack) the kernel (?!.*null)\S+: \S+"):
            Kernel.get(str(path))
    assert not list(kernels_dir().glob("[!.]*/"))
    assert not list(kernels_dir().glob(".*.part"))


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".xz", lzma.compress(module("a"))[:-20]),
        (".gz", gzip.compress(module("a"))[:-12]),
        (".zst", zstd(module("a"))[:-2]),
        (".zst", zstd(module("a")) * 2),
        (".xz", b"no xz"),
        (".gz", b"no gz"),
        (".zst", b"no zstd"),
    ],
    ids=["xz", "gz", "zst", "two frames", "no xz", "no gz", "no zst"],
)
def test_a_damaged_module_is_a_sentence(suffix: str, content: bytes, tmp_path: Path) -> None:
    name = f"lib/modules/{RELEASE}/kernel/a.ko{suffix}"
    made = deb(kernel_files() | {name: content}, tmp_path / "k.deb")
    with pytest.raises(UsageError, match=rf"cannot decompress the modules? a\.ko{suffix}: \S+"):
        Kernel.get(str(made))
    assert not list(kernels_dir().glob(".*.part"))


def test_a_kernel_has_thousands_of_modules(tmp_path: Path) -> None:
    many = {f"lib/modules/{RELEASE}/kernel/drivers/{n:04}.ko.zst": zstd(module("a")) for n in range(2000)}
    kernel = Kernel.get(str(laid(kernel_files(suffix=".zst") | many, tmp_path / "own")))
    assert kernel.facts.modules == 2000 + len(MODULES)


def test_a_thousand_damaged_ones_are_told_in_a_sentence_too(tmp_path: Path) -> None:
    damaged = {f"lib/modules/{RELEASE}/kernel/drivers/{n:04}.ko.zst": zstd(module("a"))[:-2] for n in range(1000)}
    with pytest.raises(UsageError, match="cannot decompress the modules"):
        Kernel.get(str(laid(kernel_files(suffix=".zst") | damaged, tmp_path / "own")))


def test_all_modules_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "ALL_LIMIT_BYTES", len(bz_image()) + 10)
    with pytest.raises(UsageError, match="its files are larger than"):
        Kernel.get(str(laid(kernel_files(), tmp_path / "own")))


def test_two_builds_of_one_release_make_no_kernel(tmp_path: Path) -> None:
    first, other = kernel_files(), kernel_files()
    other[f"lib/modules/{RELEASE}/kernel/{MODULES[0]}.ko"] = b"of another build"
    room = tmp_path / "builds"
    room.mkdir()
    for name, files in (("1", first), ("2", other), ("same-as-1", first)):
        deb(files, room / f"{name}.deb")
    with pytest.raises(UsageError, match=r"2\.deb has another .*\.ko than the ones before it"):
        Kernel.get(str(room))
    (room / "2.deb").unlink()
    expect_whole(Kernel.get(str(room)))


def test_what_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    made = tarball(kernel_files(), tmp_path / "k.tar.zst", pack=lambda data: zstd(data + bytes(8 * 1024 * 1024)))
    with pytest.raises(UsageError, match=r"k\.tar\.zst: it goes on behind its end"):
        Kernel.get(str(made))
    made = tarball({}, tmp_path / "k.tar.zst", pack=lambda _: zstd(b"no tar " * 1024 * 1024))
    with pytest.raises(UsageError, match=r"cannot unpack the kernel \S+k\.tar\.zst: \S+"):
        Kernel.get(str(made))


def test_nothing_of_an_archive_gets_outside(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        leading = tarfile.TarInfo("lib/modules")
        leading.type, leading.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        outside = tarfile.TarInfo("../outside/bzImage")
        tar.addfile(leading)
        tar.addfile(outside, io.BytesIO(b""))
        for name, content in kernel_files().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (tmp_path / "outside").mkdir()
    (tmp_path / "k.tar").write_bytes(stream.getvalue())
    expect_whole(Kernel.get(f"{tmp_path}/k.tar"))
    assert not list((tmp_path / "outside").iterdir())


def test_a_program_that_is_not_there_is_this_hosts_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rpm(kernel_files(), tmp_path / "k.rpm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"k\.rpm: there is no bsdtar") as failure:
        Kernel.get(str(made))
    assert failure.value.hint == "apt install libarchive-tools"


def test_a_file_is_kept_by_its_content_and_its_place_does_not_matter(tmp_path: Path) -> None:
    image = find("bookworm")
    made = deb(kernel_files(), tmp_path / "any name.deb")
    layer = with_kernel(image, str(made))
    assert layer.name.startswith(f"bookworm+{RELEASE}-")
    assert [path.parent for path in layer.sources()] == [Kernel.get(str(made)).directory]
    moved = made.rename(tmp_path / "linux.deb")
    assert key_of(with_kernel(image, str(moved))) == key_of(layer)
    assert not list(kernels_dir().glob(".*.part"))


def test_several_machines_at_once_keep_one_file(tmp_path: Path) -> None:
    made, image = deb(kernel_files(), tmp_path / "k.deb"), find("bookworm")
    layers: list[str] = []
    parallel(*[lambda: layers.append(with_kernel(image, str(made)).name)] * 4)
    assert len(layers) == 4
    assert len(set(layers)) == 1
    assert len(list(kernels_dir().glob("[!.]*/"))) == 1


def test_directories_with_kernels_stand_alone(tmp_path: Path) -> None:
    one, other = (laid(kernel_files(), tmp_path / name) for name in ("one", "other"))
    with pytest.raises(UsageError, match="a directory with a kernel in it stands alone"):
        Kernel.get(f"{one},{other}")


def test_what_is_damaged_in_the_cache_is_made_anew(tmp_path: Path) -> None:
    made = deb(kernel_files(), tmp_path / "k.deb")
    kernel = Kernel.get(str(made))
    os.truncate(kernel.payload, 10)
    assert Kernel.get(str(made)) == kernel
    (kernel.directory / "kernel.json").write_text("{}")
    assert Kernel.get(str(made)) == kernel
    expect_whole(kernel)
    overwritten(kernel.payload, 0)
    assert Kernel.get(str(made)) == kernel
    expect_whole(kernel)


def overwritten(path: Path, at: int) -> None:
    """Damage a file without a change of its size."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(100))


def test_all_of_a_kernel_is_read_when_that_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Kernel.get(str(deb(kernel_files(), tmp_path / "whole.deb")))
    noise = {f"lib/modules/{RELEASE}/kernel/noise.ko": random.Random(1).randbytes(3_000_000)}  # noqa: S311 - any bytes
    made = str(deb(kernel_files() | noise, tmp_path / "k.deb"))
    kernel = Kernel.get(made)
    damaged = kernel.payload.read_bytes()
    overwritten(kernel.payload, 300_000)  # between what each start looks at
    assert Kernel.get(made).payload.read_bytes() != damaged, "the quick look does not find it, or this shows nothing"
    images.check.body(Context())
    shown = capsys.readouterr().out
    assert f"kernel {whole.directory.name}: whole\n" in shown
    assert f"kernel {kernel.directory.name}: damaged: kernel.tar.gz has other bytes than when it was made; rem" in shown
    assert not kernel.directory.exists()
    assert Kernel.get(made).payload.read_bytes() == damaged


def test_a_bake_that_fails_with_a_damaged_kernel_is_rid_of_it(tmp_path: Path) -> None:
    noise = {f"lib/modules/{RELEASE}/kernel/noise.ko": random.Random(1).randbytes(3_000_000)}  # noqa: S311 - any bytes
    made = str(deb(kernel_files() | noise, tmp_path / "k.deb"))
    kernel = Kernel.get(made)
    image = find("trixie")
    with pytest.raises(HostError, match="no space"), baking(image, made):
        raise HostError("no space")
    overwritten(kernel.payload, 300_000)
    with pytest.raises(HostError, match="what was kept of it is damaged") as caught, baking(image, made):
        raise HostError("tar: it is damaged")
    assert caught.value.hint == "call again: it is unpacked anew"
    assert not kernel.directory.exists()


def test_a_kernel_goes_when_it_has_not_served_for_long(tmp_path: Path) -> None:
    made = str(deb(kernel_files(), tmp_path / "k.deb"))
    kernel = Kernel.get(made)
    assert prune() == 0
    assert kernel.payload.exists()
    os.utime(kernel.directory / "in-use", (1, 1))
    assert prune() > 0
    assert not kernel.directory.exists()
    Kernel.get(made)
    assert prune(everything=True) > 0
