"""Kernels: where one may come from, what is in it, and the layer that gives it to an image."""
