"""The project under test: its vmtasks.toml, what is detected, which files travel, how its source gets into a guest."""

from vmtasks.project.changelog import SourcePackage
from vmtasks.project.files import left_behind, source_date_epoch, tree_files
from vmtasks.project.project import Project
from vmtasks.project.settings import Artifacts, Build, Commands, Images, Install, MachineSettings, SourceSettings

__all__ = [
    "Artifacts",
    "Build",
    "Commands",
    "Images",
    "Install",
    "MachineSettings",
    "Project",
    "SourcePackage",
    "SourceSettings",
    "left_behind",
    "source_date_epoch",
    "tree_files",
]
