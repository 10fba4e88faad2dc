"""An existing host, reached over ssh and reserved for one run at a time."""
