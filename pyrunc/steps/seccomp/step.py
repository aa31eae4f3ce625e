"""The step that has the seccomp filter compiled, or found in the cache, before the container process exists."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.errors import ConfigError
from pyrunc.steps.seccomp import cache
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.config.types import Seccomp
    from pyrunc.steps.context import Context


class CompileFilter(Step):
    """linux.seccomp to BPF; BecomeProgram loads it."""

    __slots__ = ("cache_dir", "entry", "filter", "profile")
    name = "seccomp"
    section = "config-linux.md#seccomp"

    def __init__(self, profile: Seccomp, cache_dir: str | None) -> None:
        Step.__init__(self, "/linux/seccomp")
        self.profile = profile
        self.cache_dir = cache_dir
        self.filter: cache.Filter | None = None
        self.entry: tuple[int, bytes] | None = None

    def foresee(self) -> None:
        try:
            self.filter = cache.find(self.profile, self.cache_dir)
        except ConfigError:
            return  # which apply() says
        if self.filter is None:
            self.entry = _by_stage_two(self.profile)
            if self.entry is not None:
                return
            from pyrunc.steps.seccomp import extension  # noqa: F401

    def describe(self) -> str:
        names = sum(len(rule["names"]) for rule in self.profile.get("syscalls", []))
        default = str(self.profile["defaultAction"])
        return f"compile the seccomp filter: {default}, rules for {names} system calls"

    def apply(self, context: Context) -> None:
        self.filter = self.filter or compile_filter(self.profile, self.cache_dir, self.entry)
        log.debug("seccomp filter flags: " + str(self.filter.flags))


def _by_stage_two(profile: Seccomp) -> tuple[int, bytes] | None:
    """Flags and program, compiled by the ordinary stage two as a child with that one job (job.py).

    None where no image is run, which has no libseccomp; when it is to be told what the compiler thinks; and when it
    fails: whoever compiles it then says why.
    """
    try:
        import _launcher  # type: ignore[import-not-found]
    except ImportError:
        return None
    if not _launcher.IMAGE or log.is_debug():
        return None
    from pyrunc.jsontext import dumps

    fds: list[int] = []
    try:
        fds.append(posix.memfd_create("profile", posix.MFD_CLOEXEC))
        fds.append(posix.memfd_create("filter", posix.MFD_CLOEXEC))
        fds.append(posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC))
        given, made, _ = fds
        text = dumps(profile).encode("utf-8", "surrogateescape")
        if posix.write(given, text) != len(text):
            return None
        posix.lseek(given, 0, 0)
        files = [(posix.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
        pid = posix.posix_spawn(_launcher.STAGE2, [_launcher.JOB], {}, file_actions=files)
        if posix.waitpid(pid, 0)[1] != 0:
            return None
        data = posix.pread(made, posix.fstat(made).st_size, 0)
        flags, program = int.from_bytes(data[:8], "little"), data[8:]
        # No program is no filter: whatever has run there, a container that asks for one is not to go without.
        return (flags, program) if program and len(program) % cache.INSTRUCTION == 0 else None
    except OSError:
        return None
    finally:
        for fd in fds:
            posix.close(fd)


def compile_filter(
    seccomp: Seccomp, cache_dir: str | None = None, entry: tuple[int, bytes] | None = None
) -> cache.Filter:
    """The filter of a config's linux.seccomp. entry: flags and program when they have been compiled.

    cache_dir: the cache's folder, made when it is missing in a folder that exists; None for no cache. Whatever is wrong
    with the cache costs time only. Raises ConfigError for a profile that is wrong or that this kernel or library cannot
    do, PyruncError when the library is missing or fails.
    """
    found = cache.find(seccomp, cache_dir)
    if found is not None:
        return found
    from pyrunc.steps.seccomp import compiler, store

    if entry is None:
        entry = compiler.compile_profile(seccomp)
    name = cache.key(seccomp) if cache_dir is not None else None
    if cache_dir is not None and name is not None:
        store.store(cache_dir, name, cache.pack(name, *entry))
    return cache.make_filter(seccomp, entry, False)
