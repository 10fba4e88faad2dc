"""The guest: plain verbs over one ssh connection."""

from vmtasks.guest.command import Result, Shell, sh
from vmtasks.guest.guest import Guest

__all__ = ["Guest", "Result", "Shell", "sh"]
