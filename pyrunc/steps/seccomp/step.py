"""The step that has the seccomp filter compiled, or found in the cache, before the container process exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.errors import ConfigError
from pyrunc.steps.seccomp import cache
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.steps.context import Context


class CompileFilter(Step):
    """linux.seccomp to BPF; BecomeProgram loads it."""

    __slots__ = ("cache_dir", "filter", "profile")
    name = "seccomp"
    section = "config-linux.md#seccomp"

    def __init__(self, profile: Any, cache_dir: str | None) -> None:
        Step.__init__(self, "/linux/seccomp")
        self.profile = profile
        self.cache_dir = cache_dir
        self.filter: cache.Filter | None = None

    def foresee(self) -> None:
        try:
            self.filter = cache.find(self.profile, self.cache_dir)
        except ConfigError:
            return  # which apply() says
        if self.filter is None:
            from pyrunc.steps.seccomp import (
                compiler,  # noqa: F401
            )

    def describe(self) -> str:
        names = sum(len(rule["names"]) for rule in self.profile.get("syscalls", []))
        default = str(self.profile["defaultAction"])
        return f"compile the seccomp filter: {default}, rules for {names} system calls"

    def apply(self, context: Context) -> None:
        context.seccomp = self.filter or compile_filter(self.profile, self.cache_dir)
        log.debug("seccomp filter flags: " + str(context.seccomp.flags))


def compile_filter(seccomp: Mapping[str, Any], cache_dir: str | None = None) -> cache.Filter:
    """The filter of a config's linux.seccomp.

    cache_dir: the cache's folder, made when it is missing in a folder that exists; None for no cache. Whatever is wrong
    with the cache costs time only. Raises ConfigError for a profile that is wrong or that this kernel or library cannot
    do, PyruncError when the library is missing or fails.
    """
    found = cache.find(seccomp, cache_dir)
    if found is not None:
        return found
    from pyrunc.steps.seccomp import compiler, store

    entry = compiler.compile_profile(seccomp)
    name = cache.key(seccomp) if cache_dir is not None else None
    if cache_dir is not None and name is not None:
        store.store(cache_dir, name, cache.pack(name, *entry))
    return cache.make_filter(seccomp, entry, False)
