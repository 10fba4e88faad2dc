"""Buildbot: a step that calls make and understands what the run left. See docs/buildbot.md."""
