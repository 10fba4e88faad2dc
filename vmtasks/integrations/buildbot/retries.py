"""How often a build has been tried again: what bounds it, whoever asks."""

from __future__ import annotations

from buildbot.process.build import Build
from buildbot.process.results import RETRY

MAX_RETRIES = 2
"""How often a build is tried again where the infrastructure failed, if nobody says otherwise."""


async def retries_before(build: Build) -> int:
    """Return how many earlier builds of the same request ended in ``RETRY``, for whatever reason."""
    builds = await build.master.data.get(("buildrequests", build.requests[0].id, "builds"))
    return sum(one["results"] == RETRY for one in builds)
