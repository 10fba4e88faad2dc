"""Fakes for tests, of this project and of projects that use it; each is tested against the real thing."""

from vmtasks.testing.fake_provider import FakeProvider

__all__ = ["FakeProvider"]
