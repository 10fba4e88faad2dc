"""A file that describes a group: what it may say, and what is refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.group_roles import roles
from vmtasks.errors import UsageError
from vmtasks.group.job import GroupJob

JOB = """
[group]
network = "none"
wait_timeout_s = 60
"""
JOB += roles(
    server='memory_mib = 512\nnetwork = "user"\npackages = ["iperf3"]\n', client="count = 2\nessential = false\n"
)
JOB += """
[[tests]]
name = "serve"
roles = ["server"]
run = "iperf3 -s -D; lava-send ready"

[[tests]]
name = "measure"
roles = ["client"]
timeout_s = 100
run = "lava-wait ready; iperf3 -c server"

[[tests]]
name = "together"
run = "lava-sync end"

[[tests]]
name = "look"
roles = ["host"]
run = "true"
"""


def load(tmp_path: Path, text: str) -> GroupJob:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return GroupJob.load(path)


def test_a_whole_file(tmp_path: Path) -> None:
    job = load(tmp_path, JOB)
    roles = job.as_roles()
    server, client = roles["server"], roles["client"]
    assert (server.memory_mib, server.network, server.essential, server.count) == (512, "user", True, 1)
    assert (client.memory_mib, client.network, client.essential, client.count) == (None, "none", False, 2)
    assert server.prepare is not None
    assert server.prepare.key == "packages: iperf3"
    assert client.prepare is None
    assert [test.name for test in job.tests_of("server")] == ["serve", "together"]
    assert [test.name for test in job.tests_of("client")] == ["measure", "together"]
    assert [test.name for test in job.tests_of("host")] == ["look"]


def test_a_role_may_be_an_existing_host_which_is_as_it_is(tmp_path: Path) -> None:
    job = load(
        tmp_path,
        '[group]\nnetwork = "none"\n[[roles]]\nname = "board"\non = "ssh://board"\npackages = ["fio"]\n'
        '[[roles]]\nname = "client"\nimage = "bookworm"\n[[tests]]\nname = "x"\nrun = "true"\n',
    )
    roles = job.as_roles()
    assert (roles["board"].on, roles["board"].image, roles["board"].network) == ("ssh://board", "", None)
    assert (roles["client"].on, roles["client"].network) == ("", "none")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('name = "client"', 'name = "server"', "two of [[roles]] are called 'server'"),
        ('roles = ["client"]', 'roles = ["clients"]', "'clients', which no machine has; did you mean 'client'?"),
        ('roles = ["client"]', 'roles = ["xyz"]', "which no machine has; there are server, client"),
        ('name = "server"\nimage = "bookworm"', 'name = "server"', "role 'server' has no image"),
        ('image = "bookworm"\nmemory', 'image = ""\nmemory', "role 'server' has no image"),
        ("count = 2", "count = 0", "key 'count' in [[roles]] number 2 must be a whole number of at least 1"),
        ("count = 2", 'count = "2"', "key 'count' in [[roles]] number 2 must be a whole number"),
        ("count = 2", "cuont = 2", "unknown key 'cuont' in [[roles]] number 2; did you mean 'count'?"),
        ('network = "user"\n', "", "role 'server' cannot install packages: its network is 'none'"),
        ("[group]", "[groups]", "unknown key 'groups'; did you mean 'group'?"),
        ('name = "measure"', 'name = "serve"', "two of [[tests]] are called 'serve'"),
        ('run = "true"', 'run = " "', "test 'look' runs nothing"),
        ('name = "server"\nimage', 'name = "host"\nimage', "cannot have a role 'host'"),
        ("wait_timeout_s = 60", "wait_timeout_s = 0", "must be a number of at least 0.1"),
        ("wait_timeout_s = 60", 'network = "all"', "cannot read"),
        ("count = 2", 'on = "board"', "role 'client' cannot be on 'board': a role is an existing host, ssh://HOST"),
        ("count = 2", 'on = "alice@big"', "role 'client' cannot be on 'alice@big'"),
        ("count = 2", 'on = "ssh://alice@board"', "cannot work as 'alice' at board"),
        ("count = 2", 'on = "ssh://board"\ncount = 2', "role 'client' cannot have 2 machines at board: it is one"),
        ("count = 2", 'on = "ssh://board"\ncpus = 2', "role 'client' cannot have cpus: board is an existing host"),
        ("count = 2", 'on = "ssh://board"\nkernel = "x.deb"', "role 'client' cannot have kernel"),
        ("count = 2", 'on = "ssh://board"\nnetwork = "none"', "role 'client' cannot have network"),
        ("count = 2", 'on = "ssh://board"\n[[roles]]\nname = "more"\non = "ssh://root@board"', "2 roles of the group"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert JOB.count(old) == 1
    with pytest.raises(UsageError) as refusal:
        load(tmp_path, JOB.replace(old, new))
    assert sentence in str(refusal.value)
    assert str(tmp_path / "job.toml") in str(refusal.value)
