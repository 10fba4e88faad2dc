"""What is fetched once on this host and installed in many guests: wheels, .deb files, tarballs, trees, kernels."""

from vmtasks.installables.base import Installable, preparation_of
from vmtasks.installables.files import FileTree, Tarball, files_of
from vmtasks.installables.packages import BootedKernel, DebFiles
from vmtasks.installables.wheels import PinnedWheel, Wheels

__all__ = [
    "BootedKernel",
    "DebFiles",
    "FileTree",
    "Installable",
    "PinnedWheel",
    "Tarball",
    "Wheels",
    "files_of",
    "preparation_of",
]
