"""The commands: what each does, prints and returns, and what it leaves."""
