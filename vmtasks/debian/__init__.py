"""Debian packages in a guest: apt, .deb files, build dependencies, what a purge leaves."""
