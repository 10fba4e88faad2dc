"""What removed packages have left for cron and logrotate: with real shells, and dpkg-query."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.debian.admin import Admin
from vmtasks.debian import purging

UNGUARDED = "#!/bin/sh\necho tick\n/usr/games/no-such-program moo\n"
GUARDED = "#!/bin/sh\n[ -x /usr/games/no-such-program ] || exit 0\necho never\n"


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    admin = Admin(tmp_path)
    files = {
        "/etc/cron.daily/tiny": UNGUARDED,
        "/etc/cron.hourly/guarded": GUARDED,
        "/etc/cron.weekly/not-executable": UNGUARDED,
        "/etc/cron.monthly/fails": "#!/bin/sh\nexit 7\n",
        "/etc/cron.daily/gone": UNGUARDED,
        "/etc/cron.d/tiny": UNGUARDED,
        "/etc/logrotate.d/tiny": "/var/log/tiny.log {\n weekly\n}\n",
    }
    admin.add("tiny", {}, files, status="config-files")
    for path in files:
        (admin.root / path[1:]).chmod(0o755 if path != "/etc/cron.weekly/not-executable" else 0o644)
    (admin.root / "etc/cron.daily/gone").unlink()
    admin.add("other", {}, {"/etc/cron.daily/other": "#!/bin/sh\necho other\n"})
    return admin


def test_jobs_of_cron_are_run_as_cron_does_and_their_lines_come_with_their_names(admin: Admin) -> None:
    rows = [row.split("\t") for row in admin.run(purging._JOBS, "cron", "tiny", "gone-package")]
    assert [(file, line) for file, line in rows if "/usr/games" not in line] == [
        ("/etc/cron.daily/tiny", "tick"),
        ("/etc/cron.daily/tiny", "exit status 127"),
        ("/etc/cron.monthly/fails", "exit status 7"),
    ]
    assert "no-such-program" in rows[1][1]


def test_logrotate_reads_its_files_where_it_is_there(admin: Admin, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "env").write_text('#!/bin/sh\nshift\nexec /usr/bin/env "$@"\n')  # which keeps PATH
    (programs / "env").chmod(0o755)
    jobs = purging._JOBS.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "STAND=in")
    without = jobs.replace("command -v logrotate", "command -v no-such-logrotate")
    assert admin.run(without, "logrotate", "tiny", path=[programs]) == []
    (programs / "logrotate").write_text('#!/bin/sh\necho "error: $3"\nexit 1\n')
    (programs / "logrotate").chmod(0o755)
    assert admin.run(jobs, "logrotate", "tiny", path=[programs]) == [
        "/etc/logrotate.d/tiny\terror: /etc/logrotate.d/tiny",
        "/etc/logrotate.d/tiny\texit status 1",
    ]
