"""Kinds of projects: one file each, with what it is known by, and what projects of that kind are tested with."""
