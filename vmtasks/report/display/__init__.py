"""What people see: the terminal, plain lines, artifacts' paths on stdout."""
