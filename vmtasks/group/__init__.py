"""Groups of machines: several with roles, started together, on a network of their own, that send, wait and sync."""
