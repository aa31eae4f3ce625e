"""Faults of our own making: of a bundle, a host or a call, and what the line that tells of each must hold."""
