"""Sources of mounts that the root of a new user namespace may not reach: opened for it by the runtime.

Loaded only for a container with a user namespace of its own.

They are opened in the container's mount namespace, whose mounts the kernel has locked when it copied them for a less
privileged user namespace (mount_namespaces(7)): a host's read-only, nosuid or nodev mount stays that, and what covers
something cannot be taken away. A copy made in the host's own mount namespace would have none of these locks, and root
in the container could undo all of it.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.steps.step import CONTAINER, RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.source import OpenTree


class OpenSources(Step):
    """Enter the container process's mount namespace, open the sources, come back, hand them over."""

    __slots__ = ("trees",)
    name = "source"
    section = "config.md#mounts"
    side = RUNTIME

    def __init__(self, trees: list[OpenTree]) -> None:
        Step.__init__(self)
        self.trees = trees

    def describe(self) -> str:
        return "open for the user namespace: " + ", ".join(tree.path for tree in self.trees)

    def apply(self, context: Context) -> None:
        flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        own = posix.open("/proc/self/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
        # setns(2) takes the root and the current directory along, and our root need not be the namespace's.
        root, here = posix.open("/", flags), posix.open(".", flags)
        theirs = posix.open(f"/proc/{context.pid}/root", flags)
        try:
            _linux.setns(context.pidfd, _linux.CLONE_NEWNS)
            try:
                posix.fchdir(theirs)
                posix.chroot(".")
                self._open(context)
            finally:
                _linux.setns(own, _linux.CLONE_NEWNS)
                posix.fchdir(root)
                posix.chroot(".")
                posix.fchdir(here)
        finally:
            for fd in (own, root, here, theirs):
                posix.close(fd)
        # They go out with the word that ends the process's wait.
        context.rights = [tree.fd for tree in self.trees]
        for tree in self.trees:
            tree.fd = -1

    def _open(self, context: Context) -> None:
        for tree in self.trees:
            if tree.fd >= 0:
                continue  # in the host's mount namespace: access_times.py
            try:
                tree.apply(context)
            except PyruncError as error:
                error.pointer = error.pointer or tree.pointer or None
                raise
            except OSError as error:
                raise PyruncError(
                    f"{tree.describe()}: {reason(error)}", pointer=tree.pointer or None, errno=error.errno
                ) from None

    def undo(self, context: Context) -> None:
        for tree in self.trees:
            tree.undo(context)
        for fd in context.rights:
            posix.close(fd)
        context.rights = []


class TakeSources(Step):
    """The container process's half: the descriptors, in the same order."""

    __slots__ = ("trees",)
    name = "source"
    side = CONTAINER

    def __init__(self, trees: list[OpenTree]) -> None:
        Step.__init__(self)
        self.trees = trees

    def describe(self) -> str:
        return "take what the runtime has opened"

    def apply(self, context: Context) -> None:
        for tree, fd in zip(self.trees, context.rights, strict=True):
            tree.fd = fd
        context.rights = []
