"""The guest: run, put, get, reboot, wait for … over one ssh connection."""

from vmtasks.guest.guest import Guest
from vmtasks.ssh.command import Result, sh

__all__ = ["Guest", "Result", "sh"]
