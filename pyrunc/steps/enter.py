"""exec: which cgroup the new process enters, and how."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any

from pyrunc.errors import PyruncError
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.cgroups import AnyManager
    from pyrunc.state.store import Container
    from pyrunc.steps.context import Context


class OpenCgroup(Step):
    """Open the container's cgroup for the new process to enter.

    outside: after apply(), whether only a service manager can move it there: out of a login session, to which the
    user's manager of the scope has no right, nobody can move himself.
    """

    __slots__ = ("container", "outside", "paths", "small")
    name = "cgroup"

    def __init__(self, container: Container, paths: dict[str, str], small: bool) -> None:
        """small: the memory limit is, and the process must not be charged for what it does before it joins."""
        Step.__init__(self)
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
        if (self.container.fields.get("systemd") or {}).get("user") and "" in manager.paths:
            self.outside = not manager.reachable(self.paths)
        if not self.outside:
            self._open(context, manager)

    def _open(self, context: Context, manager: AnyManager) -> None:
        context.cgroup_fds = manager.join_fds(self.paths)
        if not self.paths:
            context.cgroup_fds += manager.nested_fds(self.container.pid)
        if not self.small:
            context.cgroup_directory_fd = manager.clone_fd(self.paths)

    def _elsewhere(self, context: Context, manager: AnyManager) -> None:
        """The container's own is gone: its process has left it, for another, which the new one enters too (as runc)."""
        from pyrunc.cgroups import elsewhere

        context.cgroup = elsewhere.manager(manager, self.container.pid)
        try:
            self._open(context, context.cgroup)
        except PyruncError as error:
            # An ordinary user's container that never had one is where its caller was.
            if not (manager.rootless and error.errno in (errno.EACCES, errno.EPERM)):
                raise

    def undo(self, context: Context) -> None:
        if context.cgroup_directory_fd >= 0:
            posix.close(context.cgroup_directory_fd)
            context.cgroup_directory_fd = -1
        for fd in context.cgroup_fds:
            posix.close(fd)
        context.cgroup_fds = []


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
