"""What can be made again: complete directories under locks, and snapshots of machines."""
