"""Containers made for real, by root: what the kernel shows afterwards is what is asserted."""
