"""The file that says what stands here for what a job of LAVA names."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.lava.mapping import LavaMapping


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
        found.kernel("http://x/k", where="w")
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


def test_a_kernel_may_be_a_file_beside_it(tmp_path: Path) -> None:
    found = mapping(tmp_path, '[kernels]\n"http://x/k" = "k.deb"\n')
    assert found.kernel("http://x/k", where="w") == str(tmp_path / "k.deb")
    with pytest.raises(UsageError, match=r"under \[kernels\]"):
        found.kernel("http://x/other", where="w")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[devices]\narndale = "ssh://root@board"\n', "the machines of a group run on this host"),
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
