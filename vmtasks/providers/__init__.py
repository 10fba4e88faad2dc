"""Where machines come from, one module each; :mod:`vmtasks.provider` says what they have in common."""
