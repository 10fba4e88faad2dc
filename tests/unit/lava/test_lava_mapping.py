"""The file that says what stands here for what a job of LAVA names."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmtasks.errors import UsageError
from vmtasks.lava.mapping import LavaMapping


def mapping(tmp_path: Path, text: str) -> LavaMapping:
    (tmp_path / "lava.toml").write_text(text)
    return LavaMapping.load(None, job=tmp_path / "job.yaml")


def test_the_longest_line_counts_and_ends_where_a_name_does(tmp_path: Path) -> None:
    found = mapping(tmp_path, '[paths]\n"http://x/a" = "one"\n"http://x/a/b/" = "/two"\n')
    assert found.local("http://x/a", where="w") == tmp_path / "one"
    assert found.local("http://x/a/c.yaml", where="w") == tmp_path / "one/c.yaml"
    assert found.local("http://x/a/b/c.yaml", where="w") == Path("/two/c.yaml")
    with pytest.raises(UsageError, match=r"^w: nothing here stands for http://x/ab: the line"):
        found.local("http://x/ab", where="w")


def test_a_file_of_this_host_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").touch()
    found = LavaMapping.load(None, job=tmp_path / "job.yaml")
    assert found.local(f"file://{tmp_path}/t.yaml", where="w") == tmp_path / "t.yaml"
    with pytest.raises(UsageError, match="is missing"):
        found.local(f"file://{tmp_path}/no.yaml", where="w")


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
