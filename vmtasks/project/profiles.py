"""The environment that a Debian build is called with: its profiles and options, from wherever they were asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from vmtasks.project import Project

PROFILES = "DEB_BUILD_PROFILES"
OPTIONS = "DEB_BUILD_OPTIONS"
_GO_TOGETHER = ("nocheck", "nodoc")
"""A build with these profiles has the options of the same names, too, because packages look at either.

Source: https://wiki.debian.org/BuildProfileSpec
"""


def build_env(project: Project, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of the project's Debian build.

    dpkg, debhelper and apt all read profiles and options there. The caller's own variables of these names count before
    the project's ``[build]``, as they would with dpkg-buildpackage, and that before its ``[commands] env``.
    """
    env = dict(project.commands.env)
    profiles = _chosen(PROFILES, project.build.profiles, env, environ)
    options = _chosen(OPTIONS, project.build.options, env, environ)
    options += [name for name in _GO_TOGETHER if name in profiles and name not in options]
    for name, words in ((PROFILES, profiles), (OPTIONS, options)):
        if words:
            env[name] = " ".join(words)
        else:
            env.pop(name, None)
    return env


def _chosen(name: str, value: tuple[str, ...], env: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    # Options of commands separate profiles by commas, the variable by blanks: either is meant.
    text = environ.get(name, "") or " ".join(value) or env.get(name, "")
    return re.split(r"[\s,]+", text.strip()) if text.strip() else []
