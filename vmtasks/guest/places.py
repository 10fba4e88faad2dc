"""Where rooms above put programs and files into a guest: from an existing host, all of them go in the end."""

from __future__ import annotations

TEST_SHELL = "/lava-vmtasks"
"""Of a lava-test-shell."""
GROUP_PROGRAMS = "/usr/local/lib/vmtasks-group"
"""Of the verbs of a group, on an existing host: what is in the PATH there is not ours. (/run may be mounted noexec.)"""
GROUP_SOCKET = "/run/vmtasks-group"
"""Of the socket that the verbs talk to; it goes with the machine's boot."""
SUITES = "/var/lib/vmtasks-suites"
"""Of test suites: their files, their results, and the environments that their runners are in."""
BUILDBOT_WORKER = "/var/lib/vmtasks-buildbot-worker"
"""Of a Buildbot's worker and all its builds."""
ALL = (TEST_SHELL, GROUP_PROGRAMS, GROUP_SOCKET, SUITES, BUILDBOT_WORKER)
GROUP_CACHE = "/tmp/lava_multi_node"  # noqa: S108 - it is LAVA's, and scripts read it there
"""What the names of the files begin with that have what a member has waited for."""
FAILURE = "vmtasks-failure-"
"""What the names of the directories in /tmp begin with that a shell finds which opens where a command failed."""
SCRATCH = (f"{GROUP_CACHE}_cache.txt", f"{GROUP_CACHE}_network_cache.txt", f"/tmp/{FAILURE}*")  # noqa: S108 - as above
"""Files that are nobody's for long, as a shell has their names."""
