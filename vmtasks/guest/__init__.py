"""The guest: run, put, get, reboot, wait for … over one ssh connection."""

from vmtasks.guest.guest import Guest
from vmtasks.ssh.command import Result, Shell, sh

__all__ = ["Guest", "Result", "Shell", "sh"]
