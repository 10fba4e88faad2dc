"""The file that says what stands here for what a job of LAVA names."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.frameworks.lava.mapping import LavaMapping


def mapping(tmp_path: Path, text: str) -> LavaMapping:
    """Return a mapping that the user has named."""
    (tmp_path / "lava.toml").write_text(text)
    return LavaMapping.load(tmp_path / "lava.toml", job=tmp_path / "job.yaml")


def test_the_longest_line_counts_and_ends_where_a_name_does(tmp_path: Path) -> None:
    found = mapping(tmp_path, '[paths]\n"http://x/a" = "one"\n"http://x/a/b/" = "/two"\n')
    assert found.local("http://x/a", where="w") == tmp_path / "one"
    assert found.local("http://x/a/c.yaml", where="w") == tmp_path / "one/c.yaml"
    assert found.local("http://x/a/b/c.yaml", where="w") == Path("/two/c.yaml")
    with pytest.raises(UsageError, match=r"^w: nothing here stands for http://x/ab: the line"):
        found.local("http://x/ab", where="w")


def test_a_file_beneath_the_job_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").touch()
    found = LavaMapping.load(None, job=tmp_path / "job.yaml")
    assert found.local(f"file://{tmp_path}/t.yaml", where="w") == tmp_path / "t.yaml"
    with pytest.raises(UsageError, match="is missing"):
        found.local(f"file://{tmp_path}/no.yaml", where="w")


def test_a_file_elsewhere_needs_a_line(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (tmp_path / "t.yaml").touch()
    (job / "link.yaml").symlink_to(tmp_path / "t.yaml")
    found = LavaMapping.load(None, job=job / "job.yaml")
    for url in (f"file://{tmp_path}/t.yaml", f"{tmp_path}/t.yaml", f"{job}/../t.yaml", f"file://{job}/link.yaml"):
        with pytest.raises(UsageError, match=f"it is outside of the job's directory {job}, and the line `"):
            found.local(url, where="w")
    given = mapping(job, f'[paths]\n"file://{tmp_path}" = ".."\n')
    assert given.local(f"file://{tmp_path}/t.yaml", where="w").resolve() == tmp_path / "t.yaml"


def test_the_jobs_own_file_gives_nothing_else_away_unless_the_user_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    mapping(job, '[paths]\n"http://x/" = ".."\n"http://y/" = "tests"\n[kernels]\n"http://x/k" = "../k.deb"\n')
    found = LavaMapping.load(None, job=job / "job.yaml")
    assert found.local("http://y/a", where="w") == job / "tests/a"
    with pytest.raises(UsageError, match=r"^w: .* which is outside of the job's directory") as refusal:
        found.local("http://x/a", where="w")
    assert f"--mapping {job / 'lava.toml'}" in (refusal.value.hint or "")
    with pytest.raises(UsageError, match="outside of the job's directory"):
        found.kernel("http://x/k", image="bookworm", where="w")
    monkeypatch.chdir(job)
    for named in (job / "job.yaml", Path("job.yaml")):
        assert LavaMapping.load(None, job=named).local("http://x/a", where="w").resolve() == tmp_path / "a"


def test_what_a_definition_may_have_cloned(tmp_path: Path) -> None:
    beside = tmp_path / "checkout"
    beside.mkdir()
    (beside / "out").symlink_to(tmp_path)
    found = mapping(tmp_path, '[paths]\n"/srv/tests" = "/srv/tests"\n"https://x/" = "mirror"\n')
    for url, path in (("tools", "tools"), (f"file://{beside}/a%20b", "a b"), (".", "."), ("x/../y", "x/../y")):
        assert found.repository(url, beside=beside) == (str(beside / path), True)
    for url in ("https://y/a.git", "host:a.git", "ssh://host/a"):
        assert found.repository(url, beside=beside) == (url, False)
    assert found.repository("/srv/tests/a", beside=beside) == ("/srv/tests/a", False)
    assert found.repository("https://x/a.git", beside=beside) == (str(tmp_path / "mirror/a.git"), False)
    for url in ("..", "../other", "/etc", "file:///etc", f"file://{beside}/%2e%2e/x", "out/x"):
        with pytest.raises(UsageError, match=f"it is outside of {beside}, and the line"):
            found.repository(url, beside=beside)


def test_what_can_be_no_path_is_a_sentence(tmp_path: Path) -> None:
    found = mapping(tmp_path, '[paths]\n"http://x" = "~no-such-user/x"\n')
    with pytest.raises(UsageError, match="'~no-such-user/x' is no path"):
        found.local("http://x/a", where="w")
    with pytest.raises(UsageError, match=r"^w: nothing here stands for /xxx"):
        found.local("/" + "x" * 300, where="w")


@pytest.mark.parametrize("name", ["http://y/k.deb#sha256=0", "./k.rpm,http://y/k.rpm#sha256=0", "./a,../b"])
def test_what_only_lies_beside_a_job_has_no_kernel_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    own, job = tmp_path / "own", tmp_path / "job"
    own.mkdir()
    job.mkdir()
    mapping(job, f'[kernels]\n"http://x/k" = "{name}"\n')
    monkeypatch.chdir(own)
    with pytest.raises(UsageError, match=r"has nothing fetched|outside of the job's directory"):
        LavaMapping.load(None, job=job / "job.yaml").kernel("http://x/k", image="bookworm", where="w")
    monkeypatch.chdir(job)
    assert LavaMapping.load(None, job=job / "job.yaml").kernel("http://x/k", image="bookworm", where="w").count(
        ","
    ) == name.count(",")


def test_a_kernel_may_be_a_file_beside_it(tmp_path: Path) -> None:
    found = mapping(tmp_path, '[kernels]\n"http://x/k" = "k.deb"\n"http://x/l" = "./l,m.rpm,linux-image-amd64"\n')
    assert found.kernel("http://x/l", image="bookworm", where="w") == f"{tmp_path}/l,{tmp_path}/m.rpm,linux-image-amd64"
    assert found.kernel("http://x/k", image="bookworm", where="w") == str(tmp_path / "k.deb")
    for image, kernel in (
        ("bookworm", "linux-image-cloud-amd64"),
        ("bookworm-arm64", "linux-image-cloud-arm64"),
        ("bookworm-i386", "linux-image-686"),
    ):
        with pytest.raises(UsageError, match=rf'"http://x/other" = "{kernel}"` under \[kernels\]'):
            found.kernel("http://x/other", image=image, where="w")


@pytest.mark.parametrize("device", ["kvm-aarch64", "qemu-arm64"])
def test_a_device_for_arm64_is_a_machine_for_arm64(tmp_path: Path, device: str) -> None:
    found = mapping(tmp_path, '[images]\n"http://x/arm" = "bookworm-arm64"\n"http://x/amd" = "trixie"\n')
    assert found.image("http://x/arm", device=device, where="w") == "bookworm-arm64"
    line = f'the line `{device} = "bookworm-arm64"` under'
    with pytest.raises(UsageError, match=f"is for arm64, and 'trixie', which stands for http://x/amd, is not: {line}"):
        found.image("http://x/amd", device=device, where="w")
    with pytest.raises(UsageError, match=f"no image of ours stands for http://x/other: .*, or {line}"):
        found.image("http://x/other", device=device, where="w")
    images = '[images]\n"http://x/amd" = "trixie"\n"http://x/arm" = "bookworm-arm64-build"\n'
    given = mapping(tmp_path, f'[devices]\n{device} = "bookworm-arm64"\n{images}')
    for url, image in (("other", "bookworm-arm64"), ("amd", "bookworm-arm64"), ("arm", "bookworm-arm64-build")):
        assert given.image(f"http://x/{url}", device=device, where="w") == image
    given = mapping(tmp_path, f'[devices]\n{device} = "bookworm"\n{images}')
    for url, image in (("other", "bookworm"), ("amd", "trixie"), ("arm", "bookworm-arm64-build")):
        assert given.image(f"http://x/{url}", device=device, where="w") == image


@pytest.mark.parametrize(
    ("device", "image"), [("kvm-arm", "bookworm-arm64"), ("qemu-riscv64", "bookworm"), ("qemu-mips", "bookworm")]
)
def test_a_device_of_no_architecture_here_needs_a_line_of_its_own(tmp_path: Path, device: str, image: str) -> None:
    found = mapping(tmp_path, '[images]\n"http://x" = "bookworm-arm64"\n')
    with pytest.raises(UsageError, match=f'i386 and arm64: the line `{device} = "{image}"` under') as refusal:
        found.image("http://x", device=device, where="w")
    assert "a line for its image's URL is not enough" in refusal.value.hint


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[devices]\narndale = "http://board"\n', "'arndale' cannot be 'http://board': that is no name of an image"),
        ('[devices]\narndale = "ssh://alice@board"\n', "'arndale': cannot work as 'alice' at board"),
        ('[images]\n"http://x" = "ssh://board"\n', "'http://x' cannot be 'ssh://board': that is no name of an image"),
        ('[device]\nkvm = "sid"\n', "unknown key 'device'; did you mean 'devices'?"),
        ("[devices]\nkvm = 1\n", "key 'devices' must be a table of texts"),
        ("[devices", "it is not valid TOML"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refusal:
        mapping(tmp_path, text)
    assert sentence in str(refusal.value)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        LavaMapping.load(tmp_path / "no.toml", job=tmp_path / "job.yaml")


def test_a_device_type_may_be_an_existing_host_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mapping(tmp_path, '[devices]\narndale = "ssh://root@board"\nkvm = "sid"\n')
    assert [found.host(device, where="w") for device in ("arndale", "kvm", "other")] == ["ssh://root@board", "", ""]
    beside = LavaMapping.load(None, job=tmp_path / "job.yaml")
    with pytest.raises(UsageError, match="and is the job's own: jobs name no hosts of yours") as refusal:
        beside.host("arndale", where="w")
    assert f"--mapping {tmp_path / 'lava.toml'}" in refusal.value.hint
    monkeypatch.chdir(tmp_path)
    assert LavaMapping.load(None, job=Path("job.yaml")).host("arndale", where="w") == "ssh://root@board"
