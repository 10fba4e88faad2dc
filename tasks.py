"""The index of tasks: every file in recipes/ and in vmtasks/commands/; no logic of its own."""

from vmtasks.commands import collect

namespace = collect("recipes")
