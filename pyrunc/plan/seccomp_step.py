"""The step that has the seccomp filter compiled, or found in the cache, before the container process exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.errors import ConfigError
from pyrunc.plan import seccomp
from pyrunc.plan.step import Step

if TYPE_CHECKING:
    from pyrunc.plan.context import Context


class CompileFilter(Step):
    """linux.seccomp to BPF; BecomeProgram loads it."""

    __slots__ = ("cache_dir", "filter", "profile")
    name = "seccomp"
    section = "config-linux.md#seccomp"

    def __init__(self, profile: Any, cache_dir: str | None) -> None:
        Step.__init__(self, "/linux/seccomp")
        self.profile = profile
        self.cache_dir = cache_dir
        self.filter: seccomp.Filter | None = None

    def foresee(self) -> None:
        try:
            self.filter = seccomp.find(self.profile, self.cache_dir)
        except ConfigError:
            return  # which apply() says
        if self.filter is None:
            from pyrunc.plan import seccomp_compile  # noqa: F401

    def describe(self) -> str:
        names = sum(len(rule["names"]) for rule in self.profile.get("syscalls") or ())
        default = str(self.profile["defaultAction"])
        return f"compile the seccomp filter: {default}, rules for {names} system calls"

    def apply(self, context: Context) -> None:
        context.seccomp = self.filter or seccomp.compile(self.profile, self.cache_dir)
        log.debug("seccomp filter flags: " + str(context.seccomp.flags))
