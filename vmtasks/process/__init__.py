"""Our own processes: isolated interpreters, a subreaper, the parent, signals, threads, cleaning up."""
