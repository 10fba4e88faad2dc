"""Recipes: one file each; a file here is a task, and nothing else has to be told about it."""
