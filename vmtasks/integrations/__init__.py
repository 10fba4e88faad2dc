"""Other programs that use vmtasks: Buildbot, runvm."""
