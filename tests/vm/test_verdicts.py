"""Verdicts on packages, in real machines: what must pass, what must fail, and in whose words.

Each package stands for a kind on which we once said otherwise than sbuild, autopkgtest or piuparts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.results import newest
from vmtasks import boot, packages
from vmtasks.frameworks.autopkgtest.testbed import Testbed
from vmtasks.process.host_commands import host_commands

ROOT = Path(__file__).resolve().parents[2]
INV = (str(Path(sys.executable).with_name("inv")), "-r", str(ROOT))
LIMIT_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a call of install-test."""

    status: int
    stderr: str
    directory: Path

    @cached_property
    def result(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.directory / "result.json").read_text(encoding="utf-8"))
        return document

    @property
    def cases(self) -> dict[str, str]:
        return {case["case"].removeprefix("debian/tests/"): case["outcome"] for case in self.result["cases"]}

    @property
    def sentences(self) -> dict[str, str]:
        return {case["case"].removeprefix("debian/tests/"): case["message"] for case in self.result["cases"]}


def install_test(room: Path, *words: str | Path, env: Mapping[str, str] = {}) -> Done:
    argv = [*INV, "install-test", *map(str, words)]
    done = subprocess.run(
        argv, cwd=room, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, errors="replace", timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return Done(status=done.returncode, stderr=done.stderr, directory=newest(room / "build/vmtasks").parent)


def deb(room: Path, control: str, files: Mapping[str, str] = {}, conffiles: Sequence[str] = (), **scripts: str) -> Path:
    """Make a package by hand, as one without debhelper does: no md5sums."""
    fields = dict(line.split(": ", 1) for line in control.splitlines())
    fields = {"Version": "1.0", "Architecture": "all", "Maintainer": "A Tester <tester@example.org>", **fields}
    with TemporaryDirectory() as name:
        tree = Path(name)
        tree.chmod(0o755)
        for path, content in {**files, f"usr/share/{fields['Package']}/version": "1\n"}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
            (tree / path).chmod(0o755)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(
            "".join(f"{field}: {value}\n" for field, value in fields.items()) + "Description: a package\n"
        )
        if conffiles:
            (tree / "DEBIAN/conffiles").write_text("".join(f"/{path}\n" for path in conffiles))
        for script, text in scripts.items():
            (tree / "DEBIAN" / script).write_text(f"#!/bin/sh\nset -e\n{text}\n")
            (tree / "DEBIAN" / script).chmod(0o755)
        made = room / f"{fields['Package']}-{fields['Version']}.deb"  # no name of Debian's
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made], check=True)
    return made


def source(room: Path, tests: str, *, more: Mapping[str, str] = {}) -> Path:
    """Make the source of a package called tiny, with such tests."""
    files = {
        "debian/changelog": "tiny (1.0) unstable; urgency=medium\n\n  * First.\n\n"
        " -- A Tester <tester@example.org>  Fri, 27 Nov 2026 12:00:00 +0000\n",
        "debian/control": "Source: tiny\nMaintainer: A Tester <tester@example.org>\n\n"
        "Package: tiny\nArchitecture: all\nDescription: a package\n",
        "debian/tests/control": tests,
        **more,
    }
    for path, text in files.items():
        (room / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (room / "source" / path).write_text(text)
    return room / "source"


# --- what is tested is what was built


def test_what_the_archive_has_under_the_same_name_is_not_what_is_tested(tmp_path: Path) -> None:
    broken = {"usr/games/cowsay": "#!/bin/sh\necho broken >&2; exit 3\n"}
    # The version that Debian 12 has, and one below it; each needs something that only the archive has.
    same = deb(tmp_path, "Package: cowsay\nVersion: 3.03+dfsg2-8\nDepends: figlet", broken)
    # What its last script calls is there until it is purged: piuparts purges what came along before.
    postrm = '[ "$1" != purge ] || figlet gone'
    older = deb(tmp_path, "Package: sl\nVersion: 1.0~local1\nDepends: cowsay", postrm=postrm)
    smoke = "test -e /usr/share/sl/version && /usr/games/cowsay moo"
    done = install_test(tmp_path, "--debs", same, "--debs", older, "--smoke", smoke)
    assert done.cases == {"install": "passed", "smoke": "test-failed", "purge": "test-failed"}
    assert "sl package post-removal script subprocess returned error exit status 127" in done.sentences["purge"]
    assert done.status == 1
    assert "broken" in done.result["details"]


def test_a_package_that_differs_from_the_archives_in_its_content_alone_is_the_one(tmp_path: Path) -> None:
    def twin(words: str) -> Path:
        (tmp_path / words).mkdir()
        return deb(
            tmp_path / words, "Package: twin\nInstalled-Size: 5\nDepends: figlet", {"usr/share/twin/words": words}
        )

    theirs = twin("theirs")
    ours = twin("ours's")
    assert ours.stat().st_size == theirs.stat().st_size
    archive = "cd /srv/archive && apt-ftparchive packages . >Packages && echo 'deb [trusted=yes] file:/srv/archive ./'"
    listed = "/etc/apt/sources.list.d/archive.list"
    with boot("bookworm", log_dir=tmp_path) as guest:
        guest.put(theirs, "/srv/archive/")
        guest.run(f"{archive} >{listed}")
        guest.run(
            f"apt-get update -o Dir::Etc::SourceList={listed} -o Dir::Etc::SourceParts=/dev/null --no-list-cleanup"
        )
        new = packages.find([str(ours)])
        packages.serve(guest, new)
        packages.install(guest, new)  # which proves it
        assert guest.run("cat /usr/share/twin/words").stdout == ours.parent.name


def test_what_fails_in_dpkg_fails_once_and_the_script_and_the_unit_say_why(tmp_path: Path) -> None:
    unit = "[Service]\nExecStart=/bin/sh -c 'echo tinyd: port 80 is taken; exit 1'\n"
    postinst = (
        "systemctl daemon-reload\nsystemctl start tiny.service || :\n"
        '[ -d /var/lib/tiny ] || { mkdir -p /var/lib/tiny; echo "tiny: /var/lib/tiny is missing" >&2; exit 1; }'
    )
    tiny = deb(tmp_path, "Package: tiny", {"lib/systemd/system/tiny.service": unit}, postinst=postinst)
    done = install_test(tmp_path, "--debs", tiny)
    assert (done.status, done.cases) == (1, {"install": "test-failed"})
    assert "post-installation script subprocess returned error exit status 1" in done.result["message"]
    assert "tinyd: port 80 is taken" in done.result["message"]
    assert "tiny: /var/lib/tiny is missing" in done.result["details"]
    installs = [one for one in done.result["commands"] if one["command"].startswith("apt-get install")]
    assert len(installs) == 1


# --- purges


def test_a_purge_that_leaves_or_changes_files_fails_and_what_must_stay_stays(tmp_path: Path) -> None:
    everywhere = "/var/log /var/cache /var/lib /etc /home /srv /opt /usr/share /boot /var/cache/apt /var/lib/apt"
    kept = "/usr/share/no-such"
    postinst = (
        f"for d in {everywhere}; do mkdir -p $d/tiny; echo x >$d/tiny/left; done\n"
        f"dpkg-divert --package tiny --add --rename --divert {kept}.distrib {kept}\n"
        f"dpkg-statoverride --add root root 700 {kept}-either\n"
        "update-alternatives --install /usr/bin/tiny-link tiny-link /bin/true 5\n"
        "echo more >>/etc/tiny.conf; echo x >/var/lib/dpkg/info/tiny-stray.cache\n"
        "echo '# tiny was here' >>/etc/adduser.conf\nsetsid sleep 1000 >/dev/null 2>&1 </dev/null &"
    )
    conffiles = {"etc/tiny.conf": "few\n", "etc/cron.daily/tiny": "#!/bin/sh\nfiglet moo\n"}
    tiny = deb(tmp_path, "Package: tiny\nDepends: figlet", conffiles, list(conffiles), postinst=postinst)
    stays = deb(tmp_path, "Package: tiny-base\nEssential: yes")
    done = install_test(tmp_path, "--debs", tiny, "--debs", stays)
    assert done.cases == {"install": "passed", **dict.fromkeys(["files", "purge", "leftovers"], "test-failed")}
    assert done.status == 1
    assert done.sentences["files"].endswith("not as dpkg has unpacked them: changed: /etc/tiny.conf")
    assert done.sentences["purge"].startswith("/etc/cron.daily/tiny complains while its package is removed")
    assert "figlet: not found" in done.sentences["purge"]
    told = (done.directory / "leftovers.txt").read_text().splitlines()
    assert "changed: /etc/adduser.conf" in told
    directories = [f"left: {directory}/tiny" for directory in everywhere.split()]
    records = [
        f"left: diversion of {kept} to {kept}.distrib by tiny",
        f"left: statoverride root root 700 {kept}-either",
        "left: alternative tiny-link: /bin/true",
        "left: /etc/alternatives/tiny-link",
        "left: /usr/bin/tiny-link",
        "left: /var/lib/dpkg/info/tiny-stray.cache",
    ]
    files = [*directories, *(f"{one}/left" for one in directories)]
    assert sorted(told) == sorted(["changed: /etc/adduser.conf", *files, *records])
    notes = "\n".join(note["text"] for note in done.result["notes"])
    assert "still running after the purge: sleep 1000" in notes
    assert "Essential, Protected or Important: tiny-base" in notes


def test_what_a_service_that_a_script_starts_has_written_is_told_and_no_failure(tmp_path: Path) -> None:
    writes = "/bin/sh -c 'mkdir -p /var/lib/tiny; echo 1 >/var/lib/tiny/state'"
    unit = f"[Service]\nType=oneshot\nExecStart={writes}\n"
    postinst = "systemctl daemon-reload\nsystemctl start tiny.service"
    tiny = deb(tmp_path, "Package: tiny", {"lib/systemd/system/tiny.service": unit}, postinst=postinst)
    done = install_test(tmp_path, "--debs", tiny)
    assert (done.status, done.cases) == (0, dict.fromkeys(["install", "purge", "leftovers"], "passed"))
    notes = [note["text"] for note in done.result["notes"]]
    assert "not purged, but written by what ran meanwhile: /var/lib/tiny, /var/lib/tiny/state" in notes


def test_packages_that_exclude_each_other_are_tried_and_upgraded_in_their_turn(tmp_path: Path) -> None:
    flavours = ("nox", "gtk")
    for version in ("0.9", "1.0"):
        (tmp_path / version).mkdir()
        for one, other in (flavours, flavours[::-1]):
            control = f"Package: tiny-{one}\nVersion: {version}\nConflicts: tiny-{other}"
            deb(tmp_path / version, control, {"usr/bin/tiny": f"#!/bin/sh\necho {one}\n"})
    words = ["--debs", tmp_path / "1.0", "--smoke", "tiny", "--upgrade-from", tmp_path / "0.9"]
    done = install_test(tmp_path, *words)
    assert done.status == 0, done.stderr
    assert set(done.cases.values()) == {"passed"}
    # Of each two: as it is, and upgraded.
    assert sum(case.startswith("smoke") for case in done.cases) == 4
    assert sum(case.startswith("upgrade") for case in done.cases) == 2
    assert any("exclude each other" in note["text"] for note in done.result["notes"])


# --- the source's own tests

TESTS = """\
Test-Command: test -x /usr/games/sl && ! test -e /usr/bin/hello
Features: test-name=recommends
Depends: @, @recommends@, hello <nocheck>

Test-Command: test ! -e /var/tmp/mine && sudo -n true; set -o pipefail; [[ tiny == t* ]]; exit 255
Features: test-name=sudo-and-bash
Restrictions: needs-sudo, skip-foreign-architecture

Test-Command: f=$AUTOPKGTEST_TMP/f; [ $AUTOPKGTEST_REBOOT_MARK ] || { date >$f; /tmp/autopkgtest-reboot x; }; test -s $f
Features: test-name=reboots
Restrictions: needs-reboot, needs-root

Tests: script
Tests-Directory: debian/more

Test-Command: true
Features: test-name=elsewhere
Architecture: !linux-any

Test-Command: true
Features: test-name=strange
Restriction: flaky

Tests: twice
Architecture: !linux-any

Tests: twice
Depends: @, # we don't need more
 # and isn't that enough
"""


ALONE = """\
#!/bin/sh -e
# What only another test asks for is not there, and what this one leaves is there for no other.
test -r debian/control
test ! -e /usr/games/sl
touch /var/tmp/mine
# A link that leads out of the tree is there as well.
[ "$(readlink outside)" = /etc/hostname ]
"""


def test_each_test_has_what_it_asks_for_in_a_machine_of_its_own_and_autopkgtest_judges(tmp_path: Path) -> None:
    tree = source(tmp_path, TESTS, more={"debian/more/script": ALONE, "debian/tests/twice": "#!/bin/sh\nexit 3\n"})
    (tree / "outside").symlink_to("/etc/hostname")
    packed = tmp_path / "tiny-1.tar.gz"
    subprocess.run(["tar", "-czf", packed, "-C", tree.parent, tree.name], check=True)
    done = install_test(tmp_path, "--debs", deb(tmp_path, "Package: tiny\nRecommends: sl"), "--source", packed)
    assert done.cases == {
        **dict.fromkeys(["install", "purge", "leftovers"], "passed"),
        **dict.fromkeys(["recommends", "reboots", "script"], "passed"),
        # A status of 255, Perl's own, is the test's and no failure of the testbed.
        "sudo-and-bash": "test-failed",
        "twice": "test-failed",
        **dict.fromkeys(["elsewhere", "strange"], "skipped"),
    }, done.stderr
    assert done.status == 1
    assert done.sentences["sudo-and-bash"] == "sudo-and-bash failed: non-zero exit status 253"
    # autopkgtest's first row is that it was skipped, for another architecture.
    assert done.sentences["twice"] == "twice failed: non-zero exit status 3"
    assert (done.directory / "autopkgtest/script/log").is_file()


def test_a_run_in_which_every_test_was_skipped_is_no_pass(tmp_path: Path) -> None:
    tree = source(tmp_path, "Test-Command: exit 77\nFeatures: test-name=never\nRestrictions: skippable\n")
    tiny = deb(tmp_path, "Package: tiny")
    done = install_test(tmp_path, "--debs", tiny, "--source", tree)
    assert (done.status, done.result["outcome"], done.cases["never"]) == (8, "skipped", "skipped")
    assert "none of the source's 1 tests has told anything" in done.result["message"]
    assert done.cases["install"] == done.cases["leftovers"] == "passed"


def test_what_could_have_autopkgtest_run_a_program_on_the_host_is_refused(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    tree = source(tmp_path, "Test-Command: true\nDepends: @builddeps@\n")
    control = tree / "debian/control"
    control.write_text(control.read_text().replace("\n\n", f"\nBuild-Depends: x'); system('touch {owned}'); ('\n\n", 1))
    done = install_test(tmp_path, "--debs", deb(tmp_path, "Package: tiny"), "--source", tree)
    assert done.status == 1
    assert "has a quote or a backslash, which no build-depends may have" in done.result["message"]
    assert not owned.exists()


# --- the virtualisation server


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with host_commands() as host:
        bed = Testbed(repeat(lambda: boot("bookworm")), host)
        bed.open()
        yield bed
        bed.close()


def execute(testbed: Testbed, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv: Sequence[str] = [*testbed.execute_command, *command]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=120, check=False)


def test_a_command_has_its_words_its_streams_and_its_status(testbed: Testbed) -> None:
    words = ["a b", "it's", "''", "", "$HOME `id`", "a\nb", "*", "\\", "-n", "käse", '"', "!", "~"]
    done = execute(testbed, "printf", "%s\\0", *words)
    assert done.stdout.decode().split("\0")[:-1] == words
    assert done.stderr == b""
    everything = bytes(range(256)) * 4096
    assert execute(testbed, "cat", stdin=everything).stdout == everything
    done = execute(testbed, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert [execute(testbed, "sh", "-c", f"exit {status}").returncode for status in (0, 77, 253, 254, 255)] == [
        0, 77, 253, 253, 253,
    ]  # fmt: skip
    assert execute(testbed, "sh", "-c", "kill -KILL $$").returncode == 128 + 9
    assert b"/usr/sbin" in execute(testbed, "sh", "-c", "id -u; echo $PATH").stdout


def test_files_travel_and_a_revert_is_another_machine(testbed: Testbed, tmp_path: Path) -> None:
    scratch = testbed.open() if not testbed.is_open else testbed.revert()
    tree = tmp_path / "a [tree]"
    (tree / "below").mkdir(parents=True)
    (tree / "below/run").write_text("#!/bin/sh\necho ran\n")
    (tree / "below/run").chmod(0o755)
    (tree / "link").symlink_to("below/run")
    testbed.copy_down(f"{tree}/", f"{scratch}/tree/")
    assert execute(testbed, f"{scratch}/tree/link").stdout == b"ran\n"
    testbed.copy_down(str(tree / "below/run"), f"{scratch}/one file")
    assert execute(testbed, f"{scratch}/one file").stdout == b"ran\n"
    testbed.copy_up(f"{scratch}/tree/", f"{tmp_path}/back/")
    assert (tmp_path / "back/below/run").read_text() == "#!/bin/sh\necho ran\n"
    assert (tmp_path / "back/link").is_symlink()
    testbed.copy_up(f"{scratch}/one file", str(tmp_path / "one"))
    assert (tmp_path / "one").read_text() == "#!/bin/sh\necho ran\n"
    machine = testbed.guest.boot_id(), testbed.guest.query(["cat", "/etc/machine-id"])
    assert testbed.revert() == scratch
    assert testbed.guest.query(["cat", "/etc/machine-id"]) != machine[1]
    assert testbed.guest.query(f"ls -A {scratch}") == ""


def test_autopkgtest_itself_judges_in_machines_of_ours(tmp_path: Path) -> None:
    """As everybody calls it, without a recipe: `autopkgtest PACKAGE SOURCE -- vmtasks IMAGE`."""
    tests = "Test-Command: cat /usr/share/tiny/version\nFeatures: test-name=there\n\n"
    tests += "Test-Command: test ! -e /usr/share/tiny/version\nFeatures: test-name=gone\n"
    argv = ["autopkgtest", "--no-built-binaries", deb(tmp_path, "Package: tiny"), source(tmp_path, tests)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*argv, "--", "vmtasks", "bookworm"], cwd=tmp_path, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout
    *_, there, gone = done.stdout.splitlines()
    assert there.split() == ["there", "PASS"]
    assert gone.split()[:2] == ["gone", "FAIL"]


def test_what_autopkgtest_has_there_survives_a_reboot(testbed: Testbed) -> None:
    scratch, before = testbed.revert(), testbed.guest.boot_id()
    execute(testbed, "sh", "-c", f"mkdir -m 1777 {scratch}/d; echo kept >{scratch}/d/f; chown builder {scratch}/d/f")
    testbed.reboot()
    assert testbed.guest.boot_id() != before
    done = execute(testbed, "sh", "-c", f"cat {scratch}/d/f; stat -c '%U %a' {scratch}/d/f {scratch}/d")
    assert done.stdout.decode().split() == ["kept", "builder", "644", "root", "1777"]
