"""A run of a recipe: the decorator that makes a task of one, its options, its record, a shell where it failed."""
