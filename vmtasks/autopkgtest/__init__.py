"""Debian's as-installed package tests, by autopkgtest: it decides, in machines of ours.

``autopkgtest SOURCE -- vmtasks IMAGE`` works with the virtualisation server in :mod:`vmtasks.autopkgtest.program`;
recipes have ``vmtasks.PackageTests``, which has autopkgtest run each test of a source in a clean machine of its own.
"""
