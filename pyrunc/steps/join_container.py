"""How a new process gets into a container that runs: its cgroup, namespaces and root, an exec's CPUs and terminal."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any

from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.state.container import Container
from pyrunc.steps import cgroup, clone, namespaces
from pyrunc.steps.context import Context
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager


class OpenCgroup(cgroup.HeldCgroup):
    """Open the container's cgroup for the new process to enter.

    outside: after apply(), whether only a service manager can move it there: out of a login session, to which the
    user's manager of the scope has no right, nobody can move himself.
    """

    __slots__ = ("container", "outside", "paths", "small")
    name = "cgroup"

    def __init__(self, container: Container, paths: dict[str, str], small: bool) -> None:
        """small: the memory limit is, and the process must not be charged for what it does before it joins."""
        cgroup.HeldCgroup.__init__(self)
        self.small = small
        self.container = container
        self.outside = False
        self.paths = paths

    def describe(self) -> str:
        return "open the container's cgroup"

    def apply(self, context: Context) -> None:
        manager = self.container.manager()
        context.cgroup = manager
        if not self.paths and not manager.complete():
            self._elsewhere(context, manager)
            return
        unit = self.container.fields.get("systemd")
        if unit and unit["user"] and "" in manager.paths:
            self.outside = not manager.reachable(self.paths)
        if not self.outside:
            self._open(manager)

    def _open(self, manager: CgroupManager) -> None:
        self.fds = manager.join_fds(self.paths)
        if not self.paths:
            self.fds += manager.nested_fds(self.container.pid)
        if not self.small:
            self.directory_fd = manager.clone_fd(self.paths)

    def _elsewhere(self, context: Context, manager: CgroupManager) -> None:
        """The container's own is gone: its process has left it, for another, which the new one enters too (as runc)."""
        from pyrunc.cgroups import elsewhere

        context.cgroup = elsewhere.manager(manager, self.container.pid)
        try:
            self._open(context.cgroup)
        except PyruncError as error:
            # An ordinary user's container that never had one is where its caller was.
            if not (manager.rootless and error.errno in (errno.EACCES, errno.EPERM)):
                raise

    def undo(self, context: Context) -> None:
        self.close()


class AttachToScope(Step):
    """Have the service manager move the new process into the container's scope, where it may not do so itself."""

    __slots__ = ("opened",)
    name = "cgroup"

    def __init__(self, opened: OpenCgroup) -> None:
        Step.__init__(self)
        self.opened = opened

    def describe(self) -> str:
        return "ask the user's systemd for what the cgroup refuses"

    def apply(self, context: Context) -> None:
        if self.opened.outside:
            manager: Any = context.cgroup
            manager.attach(context.pid, self.opened.paths, self.opened.container.pid)


class OpenContainer(namespaces.OpenNamespaces):
    """Open the init process's namespaces, and its root where it has no mount namespace of its own to bring one."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, joined: dict[str, tuple[str, str]], pid: int, pidfd: int) -> None:
        namespaces.OpenNamespaces.__init__(self, joined)
        self.pid = pid
        self.pidfd = pidfd

    def apply(self, context: Context) -> None:
        try:
            namespaces.OpenNamespaces.apply(self, context)
            if "mount" not in self.joined:
                flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
                context.root_fd = posix.open(f"/proc/{self.pid}/root", flags)
        except (OSError, PyruncError):
            self._check()
            raise
        self._check()

    def _check(self) -> None:
        # By number, which may be another process's by now: what was opened is the container's if it is still there.
        if clone.has_ended(self.pidfd):
            raise StateError("cannot exec in a stopped container")

    def undo(self, context: Context) -> None:
        namespaces.OpenNamespaces.undo(self, context)
        if context.root_fd >= 0:
            posix.close(context.root_fd)
            context.root_fd = -1


class OpenRoot(Step):
    """The root and current directory that came with the mount namespace."""

    __slots__ = ()
    name = "root"
    side = CONTAINER

    def describe(self) -> str:
        return "open the container's root"

    def apply(self, context: Context) -> None:
        context.root_fd = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)


class Affinity(Step):
    """process.execCPUAffinity: initial before the cgroup is entered, final after."""

    __slots__ = ("cpus", "numbers")
    name = "execCPUAffinity"
    section = "config.md#linux-process"
    side = CONTAINER

    def __init__(self, cpus: str, pointer: str) -> None:
        from pyrunc.linux import cpulist

        Step.__init__(self, pointer)
        self.cpus = cpus
        self.numbers = cpulist.numbers(cpus)

    def describe(self) -> str:
        return "run on CPUs " + self.cpus

    def apply(self, context: Context) -> None:
        try:
            posix.sched_setaffinity(0, self.numbers)
        except OSError as error:
            raise PyruncError(f"set CPU affinity {self.cpus}: {reason(error)}", errno=error.errno) from None


class AdoptTerminal(Step):
    """The terminal that we relay, as it must be before the program can look at it."""

    __slots__ = ()
    name = "terminal"

    def __init__(self) -> None:
        Step.__init__(self, "/process/terminal")

    def describe(self) -> str:
        return "give the terminal the size of ours, and no carriage returns, which ours adds"

    def apply(self, context: Context) -> None:
        from pyrunc.linux.tty import keep_newlines, resize

        keep_newlines(context.console_fd)
        resize(context.console_fd)
