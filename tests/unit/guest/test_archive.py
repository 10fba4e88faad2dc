"""Tar streams: what we send is what was there, and what a guest sends does no harm."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import socket
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from vmtasks.errors import HostError, TestFailed
from vmtasks.guest import archive, unpack

Entry = tuple[tarfile.TarInfo, bytes]


def entry(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(content)
    return info, content


def directory(name: str, mode: int = 0o755) -> Entry:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, to: str) -> Entry:
    return entry(name, kind=tarfile.SYMTYPE, link=to)


def hardlink(name: str, to: str) -> Entry:
    return entry(name, kind=tarfile.LNKTYPE, link=to)


def with_headers(made: Entry, **headers: str) -> Entry:
    made[0].pax_headers = headers
    return made


def tar_of(entries: Iterable[Entry]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return stream


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A directory with a neighbour that must not change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return tmp_path / "target"


@pytest.fixture
def unpacked(target: Path) -> Iterable[None]:
    """Nothing outside may have changed."""
    yield
    outside = target.parent / "outside"
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"
    assert (outside / "secret").stat().st_nlink == 1
    assert {path.name for path in target.parent.iterdir()} <= {"outside", "target"}


def content_below(top: Path) -> dict[str, object]:
    """Return what lies below: text of files, targets of links, None for directories."""
    return {
        str(path.relative_to(top)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(top.rglob("*"))
    }


# ---- from a guest


def test_files_directories_and_links_come_as_they_were(target: Path) -> None:
    made, refused = unpack.unpack(
        tar_of(
            [
                directory("./", 0o700),
                directory("sub", 0o555),
                entry("sub/tool", b"#!", mode=0o4755),
                symlink("sub/link", "../up"),
                entry("up", b"x", mode=0o600),
                hardlink("same", "up"),
                entry("deep/below/file", b"y"),
            ]
        ),
        target,
    )
    assert refused == []
    assert [str(path.relative_to(target)) for path in made] == ["sub/tool", "sub/link", "up", "same", "deep/below/file"]
    assert content_below(target) == {
        "deep": None,
        "deep/below": None,
        "deep/below/file": b"y",
        "same": b"x",
        "sub": None,
        "sub/link": "-> ../up",
        "sub/tool": b"#!",
        "up": b"x",
    }
    assert (target / "sub").stat().st_mode & 0o7777 == 0o755, "ours to write and to remove"
    assert (target / "sub/tool").stat().st_mode & 0o7777 == 0o755, "no set-user-id bit comes along"
    assert (target / "up").stat().st_mode & 0o7777 == 0o600
    assert (target / "same").samefile(target / "up")


def test_what_is_there_is_replaced_and_not_written_through(target: Path) -> None:
    stream = tar_of([entry("file", b"new"), symlink("link", "file")])
    target.mkdir()
    (target / "file").symlink_to("kept")
    (target / "kept").write_text("kept")
    (target / "link").write_text("old")
    assert unpack.unpack(stream, target)[1] == []
    assert content_below(target) == {"file": b"new", "kept": b"kept", "link": "-> file"}


def test_the_same_archive_can_come_twice(target: Path) -> None:
    entries = [directory("d"), entry("d/f", b"x"), hardlink("d/g", "d/f"), symlink("l", "d"), symlink("loop", "loop")]
    first = unpack.unpack(tar_of(entries), target)
    assert unpack.unpack(tar_of(entries), target) == first
    assert first[1] == []


@pytest.mark.usefixtures("unpacked")
@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry("../outside/evil", b"x")], "its name leads outside"),
        ([entry("a/../../outside/evil", b"x")], "its name leads outside"),
        ([entry("..", kind=tarfile.DIRTYPE)], "its name leads outside"),
        ([entry("OUTSIDE/evil", b"x")], "its name leads outside"),
        ([entry(".", b"x")], "it would replace the target"),
        ([symlink(".", "x")], "it would replace the target"),
        ([with_headers(entry("name", b"x"), path="nul\0name")], "its name is none"),
        ([symlink("link", "")], "its name is none"),
        ([with_headers(symlink("link", "name"), linkpath="nul\0name")], "its name is none"),
        ([symlink("link", "../outside")], "it is a link that leads outside, to '../outside'"),
        ([symlink("link", "OUTSIDE")], "it is a link that leads outside"),
        ([symlink("link", "OUTSIDE"), directory("link/evil")], "it is a link that leads outside"),
        ([directory("d"), symlink("d/e", ".."), symlink("d/e/f", "../outside")], "a link stands on the way"),
        (
            [hardlink("name", "../outside/secret")],
            "it is another name of '../outside/secret', which did not come along",
        ),
        ([hardlink("name", "OUTSIDE/secret")], "which did not come along"),
        ([hardlink("name", "missing")], "which did not come along"),
        ([hardlink("name", "name")], "which did not come along"),
        ([symlink("link", "name"), hardlink("name", "link")], "which did not come along"),
        ([entry("disk", kind=tarfile.BLKTYPE)], "it is neither a file, nor a directory, nor a link"),
        ([entry("null", kind=tarfile.CHRTYPE)], "it is neither a file, nor a directory, nor a link"),
        ([entry("fifo", kind=tarfile.FIFOTYPE)], "it is neither a file, nor a directory, nor a link"),
        ([directory("d"), symlink("d", "x")], "something else stands in its place"),
        ([directory("d"), entry("d", b"x")], "something else stands in its place"),
        ([entry("f", b"x"), directory("f")], "something else stands in its place"),
        ([entry("f", b"x"), entry("f/g", b"x")], "something else stands in its place"),
        ([entry("f", b"x"), entry("f/g/h", b"x")], "something else stands in its place"),
        ([directory("d"), symlink("l", "d"), directory("l")], "a link stands in its place"),
        ([symlink("loop", "loop"), entry("loop/x", b"x")], "a link stands on the way"),
        ([symlink("a", "b"), symlink("b", "a"), entry("a/x", b"x")], "a link stands on the way"),
    ],
)
def test_what_a_guest_may_not_do_is_left_out_and_said(target: Path, entries: list[Entry], reason: str) -> None:
    outside = str(target.parent / "outside")
    for info, _ in entries:
        info.name, info.linkname = info.name.replace("OUTSIDE", outside), info.linkname.replace("OUTSIDE", outside)
    made, refused = unpack.unpack(tar_of([*entries, entry("last", b"x")]), target)
    assert refused, "it was made"
    assert reason in refused[0]
    assert made[-1] == target / "last", "what follows comes all the same"


GNU_SPARSE = b"S"
TIB = 1024**4


def sparse(name: str, claimed_bytes: int, *, stored: bytes = b"") -> bytes:
    """Return a member as GNU tar writes one with holes in its own format; its real size is anything."""
    info = tarfile.TarInfo(name)
    info.type, info.size = GNU_SPARSE, len(stored)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[345:500] = bytes(155)
    header[483:495] = (0o200 << 88 | claimed_bytes).to_bytes(12, "big")
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:512]))
    return bytes(header) + stored.ljust(-len(stored) % 512 + len(stored), b"\0")


def pax_sparse(version: str, claimed_bytes: int) -> Entry:
    """Return a member with holes as GNU tar writes one in the format of POSIX."""
    size = str(claimed_bytes)
    return {
        "0.0": with_headers(entry("huge", b"x" * 512), **{"GNU.sparse.size": size, "GNU.sparse.numblocks": "1"}),
        "0.1": with_headers(
            entry("huge", b"x" * 512),
            **{"GNU.sparse.map": "0,512", "GNU.sparse.size": size, "GNU.sparse.name": "huge"},
        ),
        "1.0": with_headers(
            entry("huge", b"1\n0\n512\n".ljust(512, b"\0") + b"x" * 512),
            **{
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": "huge",
                "GNU.sparse.realsize": size,
            },
        ),
    }[version]


def test_sparse_files_of_any_kind_are_left_out_and_what_follows_comes(target: Path) -> None:
    after = tar_of([entry("last", b"x")]).getvalue()
    for size in (0, 512, 10 * TIB):
        stream = io.BytesIO(sparse("huge", size, stored=b"x" * 100) + after)
        made, refused = unpack.unpack(stream, target)
        assert (made, refused) == (
            [target / "last"], ["left 'huge' in the guest: it is sparse, and takes more room than it came with"],
        )  # fmt: skip
    for version in ("0.0", "0.1", "1.0"):
        made, refused = unpack.unpack(tar_of([pax_sparse(version, 10 * TIB), entry("last", b"x")]), target)
        assert made == [target / "last"]
        assert "it is sparse" in refused[0]
    assert content_below(target) == {"last": b"x"}


def test_a_sparse_file_makes_no_room_for_a_huge_header(target: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1024**3
    stream = io.BytesIO(sparse("huge", 8 * 1024**3) + header.tobuf(tarfile.PAX_FORMAT) + bytes(64 << 20))
    with pytest.raises(TestFailed, match="a header is more than 1 MiB"):
        unpack.unpack(stream, target)
    assert stream.tell() < 2 << 20


def test_a_size_that_holds_for_all_members_is_not_believed(target: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"size": str(8 * 1024**3)}
    ) as tar:
        tar.addfile(tarfile.TarInfo("file"))
    stream.write(bytes(64 << 20))
    stream.seek(0)
    with pytest.raises(TestFailed, match="cannot unpack what the guest sent: "):
        unpack.unpack(stream, target)
    assert stream.tell() < 2 << 20


def test_headers_upon_headers_are_an_error_of_the_guests(target: Path) -> None:
    header = tarfile.TarInfo("g")
    header.type, header.size = tarfile.XGLTYPE, 512
    stream = io.BytesIO((header.tobuf(tarfile.PAX_FORMAT) + b"9 a=b\n".ljust(512, b"\0")) * 1000)
    with pytest.raises(TestFailed, match="cannot unpack what the guest sent: "):
        unpack.unpack(stream, target)


def test_names_are_counted_with_the_directories_on_their_way(target: Path) -> None:
    entries = [entry("a"), entry("b/c/d"), entry("b/c/e")]
    assert len(unpack.unpack(tar_of(entries), target, limit_names=7)[0]) == 3
    with pytest.raises(TestFailed, match="cannot take more than 6 names out of the guest at once"):
        unpack.unpack(tar_of(entries), target, limit_names=6)


def test_any_number_of_refusals_is_told_in_a_few_sentences(target: Path) -> None:
    _, refused = unpack.unpack(tar_of(entry(f"../{'long' * 1000}{number}") for number in range(1000)), target)
    assert refused[-1] == "left 980 more in the guest"
    assert len(refused) == 21
    assert len(refused[0]) < 300


@pytest.mark.usefixtures("unpacked")
def test_a_link_that_was_there_before_is_not_written_through(target: Path) -> None:
    target.mkdir()
    (target / "link").symlink_to(target.parent / "outside")
    made, refused = unpack.unpack(tar_of([entry("link/secret", b"evil"), entry("link/new", b"evil")]), target)
    assert made == []
    assert [sentence.partition(": ")[2] for sentence in refused] == ["a link stands on the way"] * 2


@pytest.mark.usefixtures("unpacked")
def test_a_link_that_is_turned_outside_afterwards_does_not_stay(target: Path) -> None:
    entries = [symlink("x", "e/f/../../outside"), symlink("e", "."), directory("f"), entry("x/secret", b"x")]
    made, refused = unpack.unpack(tar_of(entries), target)
    assert made == [target / "e", target / "x/secret"]
    assert content_below(target) == {"e": "-> .", "f": None, "x": None, "x/secret": b"x"}
    assert len(refused) == 1


@pytest.mark.usefixtures("unpacked")
def test_no_two_archives_together_make_a_link_that_leads_outside(target: Path) -> None:
    unpack.unpack(tar_of([directory("d/e"), symlink("l", "d/e"), symlink("x", "l/../../outside/secret")]), target)
    unpack.unpack(tar_of([symlink("l", ".")]), target)
    assert not (target / "x").is_symlink()


@pytest.mark.usefixtures("unpacked")
def test_a_link_by_way_of_one_that_was_there_before_does_not_stay(target: Path) -> None:
    target.mkdir()
    (target / "users").symlink_to(target.parent / "outside")
    made, refused = unpack.unpack(tar_of([symlink("x", "b/users/secret"), symlink("b", ".")]), target)
    assert made == [target / "b"]
    assert "leads outside" in refused[0]


def test_a_long_chain_of_links_takes_no_time(target: Path) -> None:
    chain = [symlink(f"l{number}", f"l{number + 1}") for number in range(3000)]
    began_s = time.process_time()
    assert len(unpack.unpack(tar_of(chain), target)[0]) == 3000
    assert time.process_time() - began_s < 10


def test_more_than_the_limit_is_refused_before_it_is_written(target: Path) -> None:
    huge = entry("huge")
    huge[0].size = 10 * 1024**4
    stream = io.BytesIO(huge[0].tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(TestFailed, match="cannot take more than 1000 bytes out of the guest at once"):
        unpack.unpack(stream, target, limit_bytes=1000)
    assert list(target.iterdir()) == []


def test_the_limit_counts_all_members_together(target: Path) -> None:
    entries = [entry(str(number), b"x" * 400) for number in range(3)]
    all_bytes = 3 * (512 + 512)
    assert len(unpack.unpack(tar_of(entries), target, limit_bytes=all_bytes)[0]) == 3
    with pytest.raises(TestFailed, match=f"more than {all_bytes - 1} bytes"):
        unpack.unpack(tar_of(entries), target, limit_bytes=all_bytes - 1)


def test_a_huge_header_is_refused_before_it_is_read(target: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    header.size = 1024**3
    stream = io.BytesIO(header.tobuf(tarfile.PAX_FORMAT) + bytes(64 << 20))
    with pytest.raises(TestFailed, match="a header is more than 1 MiB"):
        unpack.unpack(stream, target)
    assert stream.tell() < 2 << 20


def test_large_files_have_no_large_headers(target: Path) -> None:
    entries = [entry(f"{'long' * 50}{number}", bytes(3 << 20)) for number in range(3)]
    assert len(unpack.unpack(tar_of(entries), target)[0]) == 3


def test_what_nobody_asked_for_is_left_out(target: Path) -> None:
    made, refused = unpack.unpack(
        tar_of([entry("wanted", b"x"), entry("Makefile", b"x"), entry("d/wanted", b"x")]),
        target,
        place=lambda name: PurePosixPath("renamed") if name == PurePosixPath("wanted") else None,
    )
    assert made == [target / "renamed"]
    assert len(refused) == 2
    assert [path.name for path in target.rglob("*")] == ["renamed"]


@pytest.mark.parametrize("cut", [0, 100, 512 + 100, 512 + 1024, 512 + 1024 + 100])
def test_a_stream_that_breaks_off_is_an_error(target: Path, cut: int) -> None:
    whole = tar_of([entry("file", b"x" * 1000)]).getvalue()
    with pytest.raises(TestFailed, match="cannot unpack what the guest sent: "):
        unpack.unpack(io.BytesIO(whole[:cut]), target)


@pytest.mark.parametrize("stream", [b"no tar at all" * 100, bytes(range(256)) * 10])
def test_what_is_no_archive_is_an_error(target: Path, stream: bytes) -> None:
    with pytest.raises(TestFailed, match="cannot unpack what the guest sent: "):
        unpack.unpack(io.BytesIO(stream), target)


def test_a_header_that_is_none_does_not_end_the_archive_in_silence(target: Path) -> None:
    first, second = (tar_of([entry(name, b"x" * 512)]).getvalue()[:1024] for name in ("one", "two"))
    with pytest.raises(TestFailed, match="cannot unpack what the guest sent: "):
        unpack.unpack(io.BytesIO(first + b"?" + second[1:] + bytes(1024)), target)


@pytest.mark.parametrize("mtime", ["nan", "1e300", "-1e300", "1e18"])
def test_a_time_that_no_clock_shows_is_no_obstacle(target: Path, mtime: str) -> None:
    made, refused = unpack.unpack(tar_of([with_headers(entry("file", b"x"), mtime=mtime)]), target)
    assert (made, refused) == ([target / "file"], [])


def test_a_negative_size_is_an_error_and_no_endless_loop(target: Path) -> None:
    with pytest.raises(TestFailed, match="cannot unpack"):
        unpack.unpack(tar_of([with_headers(entry("file"), size="-512")]), target)


def test_a_target_that_is_a_file_is_said(target: Path) -> None:
    target.write_text("")
    with pytest.raises(HostError, match=r"cannot write to .*/target: File exists"):
        unpack.unpack(tar_of([entry("file")]), target)


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["directory"] * 500)], ids=["long", "deep"])
def test_a_name_that_no_file_system_has_is_left_out_and_said(target: Path, name: str) -> None:
    made, refused = unpack.unpack(tar_of([entry(name), entry("last")]), target)
    assert made == [target / "last"]
    assert re.search("its name is too long|no room for its name", refused[0])
    assert [path.name for path in target.iterdir()] == ["last"]


@pytest.mark.usefixtures("unpacked")
def test_a_mutated_archive_makes_nothing_outside_and_no_other_error(target: Path) -> None:
    draw = random.Random(20)  # noqa: S311 - the same ones each time
    valid = tar_of(
        [
            directory("d"), entry("d/f", b"x" * 600), hardlink("d/g", "d/f"), symlink("l", "d"),
            symlink("d/up", "../d/f"),
            with_headers(entry("p", b"y"), comment="z" * 100),
            entry("long" * 60, b"x"),
        ]
    ).getvalue()  # fmt: skip
    before, failures = content_below(target.parent / "outside"), 0
    for _ in range(400):
        stream = bytearray(valid)
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(stream))
            match draw.randrange(4):
                case 0:
                    stream[at] = draw.randrange(256)
                case 1:
                    stream[at : at + 8] = draw.choice([b"../../..", b"/outside", b"77777777", bytes(8)])
                case 2:
                    del stream[at : at + draw.choice([1, 512])]
                case _:
                    start = at // 512 * 512
                    _retyped(stream, start, draw)
        try:
            unpack.unpack(io.BytesIO(bytes(stream)), target, limit_bytes=1 << 20)
        except TestFailed:
            failures += 1
        assert {path.name for path in target.parent.iterdir()} <= {"outside", "target"}
        assert content_below(target.parent / "outside") == before
        for path in target.rglob("*"):
            assert Path(os.path.realpath(path)).is_relative_to(target)
        shutil.rmtree(target, ignore_errors=True)
    assert 0 < failures < 400, "some are archives still, and some are not"


def _retyped(stream: bytearray, start: int, draw: random.Random) -> None:
    """Make another kind of member of a header, or another name or link, with a checksum that is right."""
    header = stream[start : start + 512]
    if len(header) < 512:
        return
    header[156:157] = draw.choice([b"0", b"1", b"2", b"3", b"5", b"6", b"x", b"g", b"L", b"K", b"S"])
    if draw.randrange(2):
        at = draw.choice([0, 157])
        header[at : at + 100] = draw.choice([b"../outside/x", b"/tmp", b"l/../../outside", b"d/f", b"."]).ljust(
            100, b"\0"
        )
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    stream[start : start + 512] = header


# ---- to a guest


def packed(members: Iterable[archive.Member], *, mtime_s: int | None = None) -> bytes:
    sink = io.BytesIO()
    archive.pack(members, sink, mtime_s=mtime_s)
    return sink.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Odd names, links, modes, and an empty directory."""
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    for name in ("plain", "with space", "new\nline", "-dash", "*", "ünïcode"):
        (root / name).write_text(name)
    Path(os.fsdecode(os.fsencode(root) + b"/sub/\xff\xfe")).write_bytes(b"\xff")
    (root / "sub" / "tool").write_text("#!")
    (root / "sub" / "tool").chmod(0o755)
    (root / "sub" / "to-directory").symlink_to("empty")
    (root / "dangling").symlink_to("nowhere")
    (root / "same").hardlink_to(root / "plain")
    return root


def test_a_tree_comes_back_as_it_went(tree: Path, target: Path) -> None:
    made, refused = unpack.unpack(io.BytesIO(packed(archive.walk(tree))), target)
    assert refused == []
    assert content_below(target) == content_below(tree)
    assert (target / "sub" / "tool").stat().st_mode & 0o777 == 0o755
    assert (target / "same").samefile(target / "plain")
    assert (target / "plain").stat().st_mtime == pytest.approx((tree / "plain").stat().st_mtime)
    assert len(made) == 11


def test_owners_are_root(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(archive.walk(tree)))) as tar:
        assert {(info.uid, info.gid, info.uname, info.gname) for info in tar} == {(0, 0, "root", "root")}


def test_the_order_is_that_of_names_with_directories_first(tree: Path) -> None:
    names = [member.name for member in archive.walk(tree)]
    top = [name for name in names if "/" not in name]
    assert top == sorted(top)
    assert names.index("sub") < min(index for index, name in enumerate(names) if name.startswith("sub/"))
    assert packed(archive.walk(tree)) == packed(archive.walk(tree))


def test_a_fixed_time_makes_the_bytes_those_of_the_content(tree: Path) -> None:
    before = packed(archive.walk(tree), mtime_s=86400)
    os.utime(tree / "plain", (1, 1))
    (tree / "plain").chmod(0o664)
    (tree / "sub").chmod(0o775)
    assert packed(archive.walk(tree), mtime_s=86400) == before
    (tree / "plain").chmod(0o755)
    assert packed(archive.walk(tree), mtime_s=86400) != before


def test_links_to_directories_are_links(tree: Path) -> None:
    (tree / "up").symlink_to("..")
    names = [member.name for member in archive.walk(tree)]
    assert "up" in names
    assert not any(name.startswith(("up/", "sub/to-directory/")) for name in names)


def test_a_prefix_stands_before_all_names(tree: Path) -> None:
    names = [member.name for member in archive.walk(tree / "sub", prefix="a/b")]
    assert names[:3] == ["a/b", "a/b/empty", "a/b/to-directory"]


@pytest.mark.parametrize(("prefix", "name"), [("", "plain"), ("other", "other")])
def test_a_single_file_is_a_tree_of_one(tree: Path, prefix: str, name: str) -> None:
    assert archive.walk(tree / "plain", prefix=prefix) == (archive.Member.of(tree / "plain", name),)


def test_a_link_at_the_root_is_sent_as_a_link(tree: Path) -> None:
    assert archive.walk(tree / "sub" / "to-directory") == (
        archive.Member.of(tree / "sub" / "to-directory", "to-directory"),
    )


def test_chosen_files_keep_their_places(tree: Path) -> None:
    members = archive.members_of(tree, [Path("sub/tool"), Path("plain")], prefix="src")
    assert members == (
        archive.Member(tree, Path("sub/tool"), "src/sub/tool"),
        archive.Member(tree, Path("plain"), "src/plain"),
    )


def test_sockets_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as line:
        line.bind("line")
        (tmp_path / "plain").touch()
        stream = packed(archive.walk(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        assert tar.getnames() == ["plain"]


def test_size_is_about_what_is_sent(tree: Path) -> None:
    (tree / "large").write_bytes(b"x" * 1_000_000)
    members = archive.walk(tree)
    assert archive.size_bytes(members) == pytest.approx(len(packed(members)), rel=0.1)


def test_a_directory_that_became_a_link_is_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tool").write_text("the host's own")
    members = archive.members_of(tree, [Path("sub/tool")])
    (tree / "sub").rename(tree / "aside")
    (tree / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match=r"cannot send .*/sub/tool to the guest: .* on the way"):
        packed(members)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/../../outside"])
def test_a_name_that_leads_out_is_none(tree: Path, name: str) -> None:
    (tree.parent / "outside").write_text("the host's own")
    with pytest.raises(HostError, match="it is outside of the tree"):
        packed([archive.Member(tree, Path(name), "x")])


def test_a_file_that_is_gone_is_named(tree: Path) -> None:
    with pytest.raises(HostError, match=r"cannot send .*/gone to the guest: No such file or directory"):
        packed([archive.Member.of(tree / "gone", "gone")])


def test_a_file_that_cannot_be_read_is_named(tree: Path) -> None:
    (tree / "plain").chmod(0)
    if os.access(tree / "plain", os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(HostError, match=r"cannot send .*/(plain|same) to the guest: Permission denied"):
        packed(archive.walk(tree))


def test_a_directory_that_cannot_be_read_is_not_sent_as_an_empty_one(tree: Path) -> None:
    (tree / "sub").chmod(0)
    if os.access(tree / "sub", os.R_OK):
        pytest.skip("root reads everything")
    try:
        with pytest.raises(HostError, match=r"cannot send .*/sub to the guest: Permission denied"):
            archive.walk(tree)
    finally:
        (tree / "sub").chmod(0o755)


def test_trouble_at_the_other_end_is_not_taken_for_a_file_that_cannot_be_read(tree: Path) -> None:
    class Broken:
        def write(self, data: bytes) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        archive.pack(archive.walk(tree), Broken())
