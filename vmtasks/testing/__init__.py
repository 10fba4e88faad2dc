"""Fakes for tests, of this project and of whoever uses it; each is tested against the real thing."""
