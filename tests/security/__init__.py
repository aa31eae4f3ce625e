"""The attacks: each published hole of a runtime that can apply, performed."""
