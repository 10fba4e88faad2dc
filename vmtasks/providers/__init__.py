"""Where machines come from: one module or folder each, and boot(), which picks one."""
