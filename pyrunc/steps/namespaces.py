"""Namespaces: which are new, which are joined, and how the two processes get into them."""

from __future__ import annotations

import errno
import fcntl
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import files, loopback
from pyrunc.steps.step import CONTAINER, RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.config.types import IDMapping
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

    def __init__(self, entries: list[Any]) -> None:
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

    __slots__ = ("joined",)
    name = "namespaces"
    section = "config-linux.md#namespaces"

    def __init__(self, joined: dict[str, tuple[str, str]]) -> None:
        Step.__init__(self, "/linux/namespaces")
        self.joined = joined

    def describe(self) -> str:
        return "open the namespaces to join: " + ", ".join(kind + " " + path for kind, (path, _) in self.joined.items())

    def apply(self, context: Context) -> None:
        for kind, (path, pointer) in self.joined.items():
            flag = TYPES[kind][0]
            try:
                fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
            except OSError as error:
                raise ConfigError(
                    "namespace path " + path + ": " + reason(error), pointer=pointer, errno=error.errno
                ) from None
            context.namespace_fds.append((fd, flag, kind, pointer))
            try:
                found = fcntl.ioctl(fd, _linux.NS_GET_NSTYPE)
            except OSError:
                found = 0
            if found != flag:
                raise ConfigError("namespace path " + path + " is not a " + kind + " namespace", pointer=pointer)

    def undo(self, context: Context) -> None:
        close_namespaces(context)


def close_namespaces(context: Context) -> None:
    """Close the descriptors of the namespaces to join."""
    for fd, _, _, _ in context.namespace_fds:
        posix.close(fd)
    context.namespace_fds = []


class JoinNamespaces(Step):
    """Enter the namespaces given by path, all but a pid namespace, which is entered last of all."""

    __slots__ = ("gids", "kinds", "uids")
    name = "namespaces"
    section = "config-linux.md#namespaces"
    side = CONTAINER

    def __init__(
        self, kinds: list[str], uids: list[IDMapping] | None = None, gids: list[IDMapping] | None = None
    ) -> None:
        Step.__init__(self, "/linux/namespaces")
        self.kinds = kinds
        # What the config says of the ids in a user namespace that is joined.
        self.uids = uids
        self.gids = gids

    def describe(self) -> str:
        return "join namespaces: " + ", ".join(self.kinds)

    def apply(self, context: Context) -> None:
        join([entry for entry in context.namespace_fds if entry[2] != "pid"], context.host.rootless)
        if "user" in self.kinds:
            _compare("uid_map", self.uids, "/linux/uidMappings")
            _compare("gid_map", self.gids, "/linux/gidMappings")


def _compare(file: str, wanted: list[IDMapping] | None, pointer: str) -> None:
    """See that the map of our user namespace is the one that the config has. Raises PyruncError, OSError."""
    if not wanted:
        return
    found = [[int(field) for field in line.split()] for line in files.read("/proc/self/" + file).splitlines()]
    if sorted(found) != sorted([entry["containerID"], entry["hostID"], entry["size"]] for entry in wanted):
        raise PyruncError("the user namespace that is joined has other mappings", pointer=pointer)


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
    return PyruncError("join " + entry[2] + " namespace: " + reason(error), pointer=entry[3], errno=error.errno)


def become_root(rootless: bool) -> None:
    """Become user and group 0 of the user namespace just entered. Raises OSError.

    rootless: the runtime is an ordinary user, who may write the files of a process, trace it and open its namespaces
    only while it is what prctl(2) calls dumpable. Nobody in a joined pid namespace sees it yet: see process/init.py.
    """
    posix.setresgid(0, 0, 0)
    posix.setresuid(0, 0, 0)
    # Changing the user may have made it the other.
    _linux.prctl(_linux.PR_SET_DUMPABLE, int(rootless))


class BecomeRoot(Step):
    """Become the root of the new user namespace."""

    __slots__ = ()
    name = "user namespace"
    section = "config-linux.md#user-namespace-mappings"
    side = CONTAINER

    def describe(self) -> str:
        return "become user 0 and group 0 of the user namespace"

    def apply(self, context: Context) -> None:
        try:
            become_root(context.host.rootless)
        except OSError as error:
            raise PyruncError(
                "become root of the user namespace: " + reason(error),
                errno=error.errno,
                hint="uidMappings and gidMappings must map containerID 0",
            ) from None


class WriteMappings(Step):
    """Write uid_map and gid_map of the container process (user_namespaces(7))."""

    __slots__ = ("gids", "uids")
    name = "mappings"
    section = "config-linux.md#user-namespace-mappings"

    def __init__(self, uids: list[IDMapping], gids: list[IDMapping]) -> None:
        Step.__init__(self, "/linux/uidMappings")
        self.uids = uids
        self.gids = gids

    def describe(self) -> str:
        return "map users " + mapping_words(self.uids) + " and groups " + mapping_words(self.gids)

    def apply(self, context: Context) -> None:
        directory = "/proc/" + str(context.pid) + "/"
        if context.host.rootless:
            # The caller's own user only: this is not loaded for a runtime that runs as root.
            from pyrunc.linux import idmap

            idmap.write(context.pid, self.uids, self.gids)
            return
        try:
            files.write(directory + "gid_map", mapping_lines(self.gids))
            files.write(directory + "uid_map", mapping_lines(self.uids))
        except OSError as error:
            raise PyruncError("write id mappings: " + reason(error), errno=error.errno) from None


def mapping_words(mappings: list[IDMapping]) -> str:
    """Id mappings for a person."""
    return ", ".join(
        str(entry["containerID"]) + "=" + str(entry["hostID"]) + "+" + str(entry["size"]) for entry in mappings
    )


def mapping_lines(mappings: list[IDMapping]) -> bytes:
    """Id mappings as uid_map takes them (user_namespaces(7))."""
    return "".join(
        str(entry["containerID"]) + " " + str(entry["hostID"]) + " " + str(entry["size"]) + "\n" for entry in mappings
    ).encode("ascii")


class TimeNamespace(Step):
    """A new time namespace with its offsets, which the clone then enters (time_namespaces(7))."""

    __slots__ = ("offsets", "own")
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"

    def __init__(self, offsets: dict[str, Any], pointer: str) -> None:
        Step.__init__(self, pointer)
        self.offsets = offsets
        self.own = -1

    def describe(self) -> str:
        return "make a time namespace" + offset_words(self.offsets)

    def apply(self, context: Context) -> None:
        self.own = posix.open("/proc/self/ns/time", posix.O_RDONLY | posix.O_CLOEXEC)
        _linux.unshare(_linux.CLONE_NEWTIME)
        write_offsets("/proc/self/timens_offsets", self.offsets)

    def leave(self) -> None:
        """After the clone: later children of the runtime are born in its own time namespace again."""
        if self.own >= 0:
            _linux.setns(self.own, _linux.CLONE_NEWTIME)
            posix.close(self.own)
            self.own = -1

    def undo(self, context: Context) -> None:
        self.leave()


def offset_words(offsets: dict[str, Any]) -> str:
    words = [
        clock + " " + str(offset.get("secs") or 0) + " s " + str(offset.get("nanosecs") or 0) + " ns"
        for clock, offset in offsets.items()
    ]
    return " with offsets " + ", ".join(words) if words else ""


def write_offsets(path: str, offsets: dict[str, Any]) -> None:
    """Write linux.timeOffsets to a timens_offsets file. Raises PyruncError."""
    if not offsets:
        return
    lines = "".join(
        clock + " " + str(offset.get("secs") or 0) + " " + str(offset.get("nanosecs") or 0) + "\n"
        for clock, offset in offsets.items()
    )
    try:
        files.write(path, lines.encode("ascii"))
    except OSError as error:
        raise PyruncError(
            "write time offsets: " + reason(error), pointer="/linux/timeOffsets", errno=error.errno
        ) from None


class UnshareTime(Step):
    """A new time namespace below a new user namespace, which must own it: the container process makes it itself."""

    __slots__ = ()
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"
    side = CONTAINER

    def describe(self) -> str:
        return "make a time namespace"

    def apply(self, context: Context) -> None:
        _linux.unshare(_linux.CLONE_NEWTIME)


class WriteTimeOffsets(Step):
    """The offsets of the time namespace that the container process has made."""

    __slots__ = ("offsets",)
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"
    side = RUNTIME

    def __init__(self, offsets: dict[str, Any]) -> None:
        Step.__init__(self, "/linux/timeOffsets")
        self.offsets = offsets

    def describe(self) -> str:
        return "write time offsets" + offset_words(self.offsets)

    def apply(self, context: Context) -> None:
        write_offsets("/proc/" + str(context.pid) + "/timens_offsets", self.offsets)


class EnterTime(Step):
    """Enter the time namespace made for the children: no process may be in it while offsets are written."""

    __slots__ = ()
    name = "time namespace"
    section = "config-linux.md#offset-for-time-namespace"
    side = CONTAINER

    def describe(self) -> str:
        return "enter the time namespace"

    def apply(self, context: Context) -> None:
        fd = posix.open("/proc/self/ns/time_for_children", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            _linux.setns(fd, _linux.CLONE_NEWTIME)
        finally:
            posix.close(fd)


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
