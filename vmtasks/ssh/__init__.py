"""An ssh connection: connect, run commands on it, keep it alive, find it broken."""
