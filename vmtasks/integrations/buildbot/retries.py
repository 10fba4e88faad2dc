"""How often a build has been tried again, and the bound: for the step and the latent worker alike."""

from __future__ import annotations

from buildbot.process.build import Build
from buildbot.process.results import RETRY

MAX_RETRIES = 2
"""How often a build is tried again where the infrastructure failed, by default."""


async def retries_before(build: Build) -> int:
    """Return how many earlier builds of the same request ended in ``RETRY``, for whatever reason."""
    builds = await build.master.data.get(("buildrequests", build.requests[0].id, "builds"))
    return sum(one["results"] == RETRY for one in builds)
