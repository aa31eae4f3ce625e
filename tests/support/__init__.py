"""What tests share: a workplace for containers, and ways to look at the kernel from outside."""

from pathlib import Path

#: The work tree.
TOP = Path(__file__).parents[2]
