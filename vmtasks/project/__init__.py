"""The project under test: what its vmtasks.toml says, what is found out about it, which of its files travel."""

from vmtasks.project.changelog import SourcePackage
from vmtasks.project.files import left_behind, source_date_epoch, tree_files
from vmtasks.project.project import Project
from vmtasks.project.settings import Artifacts, Build, Commands, Images, Install, Machine, SourceSettings

__all__ = [
    "Artifacts",
    "Build",
    "Commands",
    "Images",
    "Install",
    "Machine",
    "Project",
    "SourcePackage",
    "SourceSettings",
    "left_behind",
    "source_date_epoch",
    "tree_files",
]
