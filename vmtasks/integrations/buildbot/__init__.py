"""Buildbot: a step that calls make, and a worker that exists only while it builds. See docs/buildbot.md."""
