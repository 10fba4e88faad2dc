"""Debian's autopkgtest, which decides, with machines of ours: its virt server, and the tests of a source.

``autopkgtest SOURCE -- vmtasks IMAGE`` works with the virtualisation server in ``autopkgtest/program``; recipes have
``vmtasks.PackageTests``, which has autopkgtest run each test of a source in a clean machine of its own.
"""
