"""Namespaces: which are new, which are joined, and how the two processes get into them."""

from __future__ import annotations

import errno
import fcntl
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import loopback
from pyrunc.steps.step import CONTAINER, Step
from pyrunc.steps.user_namespace import become_root, compare_maps

if TYPE_CHECKING:
    from pyrunc.config.types import IDMapping, Namespace
    from pyrunc.steps.context import Context

# Type in config.json: (flag of clone(2), file in /proc/PID/ns).
TYPES: Final[dict[str, tuple[int, str]]] = {
    "user": (_linux.CLONE_NEWUSER, "user"),
    "mount": (_linux.CLONE_NEWNS, "mnt"),
    "pid": (_linux.CLONE_NEWPID, "pid"),
    "network": (_linux.CLONE_NEWNET, "net"),
    "ipc": (_linux.CLONE_NEWIPC, "ipc"),
    "uts": (_linux.CLONE_NEWUTS, "uts"),
    "cgroup": (_linux.CLONE_NEWCGROUP, "cgroup"),
    "time": (_linux.CLONE_NEWTIME, "time"),
}


class Namespaces:
    """linux.namespaces, sorted. new: types to make; joined: type to (path, pointer); pointers: type to pointer."""

    __slots__ = ("joined", "new", "pointers")

    def __init__(self, entries: list[Namespace]) -> None:
        self.new: list[str] = []
        self.joined: dict[str, tuple[str, str]] = {}
        self.pointers: dict[str, str] = {}
        for index, entry in enumerate(entries):
            kind = entry["type"]
            pointer = "/linux/namespaces/" + str(index)
            self.pointers[kind] = pointer
            path = entry.get("path") or ""
            if path:
                self.joined[kind] = (path, pointer + "/path")
            else:
                self.new.append(kind)

    def has(self, kind: str) -> bool:
        """Whether the container has a namespace of this type that is not simply the runtime's."""
        return kind in self.joined or kind in self.new

    def flags(self, without: tuple[str, ...] = ()) -> int:
        """The clone(2) flags of the new namespaces but for some."""
        result = 0
        for kind in self.new:
            if kind not in without:
                result |= TYPES[kind][0]
        return result


class OpenNamespaces(Step):
    """Open every namespace that is joined by path, and see that each is of its type."""

    __slots__ = ("fds", "joined")
    name = "namespaces"
    section = "config-linux.md#namespaces"

    def __init__(self, joined: dict[str, tuple[str, str]]) -> None:
        Step.__init__(self, "/linux/namespaces")
        self.joined = joined
        # Descriptor, flag of clone(2), type, pointer.
        self.fds: list[tuple[int, int, str, str]] = []

    def describe(self) -> str:
        return "open the namespaces to join: " + ", ".join(f"{kind} {path}" for kind, (path, _) in self.joined.items())

    def apply(self, context: Context) -> None:
        for kind, (path, pointer) in self.joined.items():
            flag = TYPES[kind][0]
            try:
                fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
            except OSError as error:
                raise ConfigError(
                    f"namespace path {path}: {reason(error)}", pointer=pointer, errno=error.errno
                ) from None
            self.fds.append((fd, flag, kind, pointer))
            try:
                found = fcntl.ioctl(fd, _linux.NS_GET_NSTYPE)
            except OSError:
                found = 0
            if found != flag:
                raise ConfigError(f"namespace path {path} is not a {kind} namespace", pointer=pointer)

    def undo(self, context: Context) -> None:
        for fd, _, _, _ in self.fds:
            posix.close(fd)
        self.fds = []

    def of(self, kind: str) -> int | None:
        """The descriptor of the namespace of this type, None where none is joined."""
        for fd, _, type_, _ in self.fds:
            if type_ == kind:
                return fd
        return None


class JoinNamespaces(Step):
    """Enter the namespaces given by path, all but a pid namespace, which is entered last of all."""

    __slots__ = ("gids", "kinds", "opened", "uids")
    name = "namespaces"
    section = "config-linux.md#namespaces"
    side = CONTAINER

    def __init__(
        self, opened: OpenNamespaces, uids: list[IDMapping] | None = None, gids: list[IDMapping] | None = None
    ) -> None:
        Step.__init__(self, "/linux/namespaces")
        self.opened = opened
        self.kinds = [kind for kind in opened.joined if kind != "pid"]
        # What the config says of the ids in a user namespace that is joined.
        self.uids = uids
        self.gids = gids

    def describe(self) -> str:
        return "join namespaces: " + ", ".join(self.kinds)

    def apply(self, context: Context) -> None:
        join([entry for entry in self.opened.fds if entry[2] != "pid"], context.host.rootless)
        if "user" in self.kinds:
            compare_maps("uid_map", self.uids, "/linux/uidMappings")
            compare_maps("gid_map", self.gids, "/linux/gidMappings")


def join(entries: list[tuple[int, int, str, str]], rootless: bool) -> None:
    """Join namespaces (descriptor, flag, type, pointer) in the order that works whoever owns them.

    A namespace may belong to the user namespace that is joined too, or to its parent: first all but the user
    namespace, as far as the kernel lets us, then the user namespace, then what it kept from us. rootless: see
    become_root(). Raises PyruncError.
    """
    refused = []
    user = None
    for entry in entries:
        if entry[2] == "user":
            user = entry
            continue
        try:
            _linux.setns(entry[0], entry[1])
        except OSError as error:
            if error.errno != errno.EPERM:
                raise _cannot_join(entry, error) from None
            refused.append((entry, error))
    if user is not None:
        try:
            _linux.setns(user[0], user[1])
        except OSError as error:
            # EINVAL: it is the caller's own user namespace already.
            if error.errno != errno.EINVAL or not _is_own_user_namespace(user[0]):
                raise _cannot_join(user, error) from None
        else:
            become_root(rootless)
    for entry, first in refused:
        if user is None:
            raise _cannot_join(entry, first)
        try:
            _linux.setns(entry[0], entry[1])
        except OSError as error:
            raise _cannot_join(entry, error) from None


def _is_own_user_namespace(fd: int) -> bool:
    mine = posix.stat("/proc/self/ns/user")
    other = posix.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino)


def _cannot_join(entry: tuple[int, int, str, str], error: OSError) -> PyruncError:
    return PyruncError(f"join {entry[2]} namespace: {reason(error)}", pointer=entry[3], errno=error.errno)


class UnshareCgroup(Step):
    """A new cgroup namespace, whose root is the cgroup that the container process is in by now."""

    __slots__ = ()
    name = "cgroup namespace"
    section = "config-linux.md#namespaces"
    side = CONTAINER

    def describe(self) -> str:
        return "make a cgroup namespace whose root is the container's cgroup"

    def apply(self, context: Context) -> None:
        _linux.unshare(_linux.CLONE_NEWCGROUP)


class LoopbackUp(Step):
    """The loopback interface of a new network namespace."""

    __slots__ = ()
    name = "loopback"
    section = "config-linux.md#namespaces"
    side = CONTAINER

    def describe(self) -> str:
        return "bring the loopback interface up"

    def apply(self, context: Context) -> None:
        loopback.loopback_up()
