"""pyrunc, an OCI container runtime. As a library: docs/library.md, and library.py, which is loaded when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.library import *

__all__ = (
    "Config",
    "ConfigError",
    "Container",
    "Inspection",
    "Plan",
    "Process",
    "PyruncError",
    "Resources",
    "Runtime",
    "StateError",
    "Step",
    "Store",
    "UsageError",
    "Verdict",
    "Violation",
    "create",
    "default_root",
    "exec",
    "load_bundle",
    "plan_bundle",
    "run",
    "validate_bundle",
)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # The launcher loads this module for every command, and has no use for the library.
        if name in __all__:
            return getattr(__import__("pyrunc.library", None, None, (name,)), name)
        raise AttributeError(f"module 'pyrunc' has no attribute '{name}'")
