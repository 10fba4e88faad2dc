"""Settings: TOML into dataclasses, what holds on this host, where things are."""
