"""Mount options idmap and ridmap: the ids of a mount's files shown by another mapping (MOUNT_ATTR_IDMAP).

The kernel takes the mapping from a user namespace. A mount with mappings of its own gets one made for it, without any
process in it; others get the container's. Loaded only for a config that has such a mount.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import files, mounts
from pyrunc.steps.step import RUNTIME, Step
from pyrunc.steps.user_namespace import mapping_lines, mapping_words

if TYPE_CHECKING:
    from pyrunc.config.types import IDMapping, Linux, Mount
    from pyrunc.steps.context import Context
    from pyrunc.steps.namespaces import Namespaces, OpenNamespaces
    from pyrunc.steps.rootfs.mount_options import MountOptions


class Mapping(Step):
    """A user namespace for its id maps alone: made by a helper process, which ends as soon as we hold it."""

    __slots__ = ("fd", "gids", "uids")
    name = "idmap"
    section = "config.md#linux-mount-options"
    side = RUNTIME

    def __init__(self, uids: list[IDMapping], gids: list[IDMapping], pointer: str) -> None:
        Step.__init__(self, pointer)
        self.uids = uids
        self.gids = gids
        self.fd = -1

    def describe(self) -> str:
        users, groups = mapping_words(self.uids), mapping_words(self.gids)
        return f"make a user namespace that maps users {users} and groups {groups}"

    def apply(self, context: Context) -> None:
        wait, go = posix.pipe2(posix.O_CLOEXEC)
        pid, pidfd = _linux.clone(_linux.CLONE_NEWUSER)
        if pid == 0:
            try:
                posix.close(go)
                posix.read(wait, 1)
            finally:
                posix._exit(0)
        posix.close(wait)
        directory = f"/proc/{pid}/"
        try:
            files.write(directory + "gid_map", mapping_lines(self.gids))
            files.write(directory + "uid_map", mapping_lines(self.uids))
            self.fd = posix.open(directory + "ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise PyruncError(
                "map the ids of a mount: " + reason(error),
                errno=error.errno,
                hint="id-mapped mounts need root" if error.errno == errno.EPERM else None,
            ) from None
        finally:
            posix.close(go)
            posix.close(pidfd)
            posix.waitpid(pid, 0)

    def undo(self, context: Context) -> None:
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    def put_on(self, tree: int, recursive: bool, what: str) -> None:
        """Map the ids of a detached mount. what: its name for an error. Raises PyruncError."""
        _map(tree, self.fd, recursive, what)


class Joined:
    """The user namespace that the container joins."""

    __slots__ = ("opened",)

    def __init__(self, opened: OpenNamespaces) -> None:
        self.opened = opened

    def put_on(self, tree: int, recursive: bool, what: str) -> None:
        """As Mapping.put_on()."""
        fd = self.opened.of("user")
        assert fd is not None
        _map(tree, fd, recursive, what)


class Mapper:
    """The mappings that the mounts of one config need, each made once."""

    __slots__ = ("_known", "linux", "opened", "spaces", "steps")

    def __init__(self, linux: Linux, spaces: Namespaces, opened: OpenNamespaces | None) -> None:
        """opened: what has the namespaces that are joined, if any are."""
        self.opened = opened
        self.linux = linux
        self.spaces = spaces
        self.steps: list[Step] = []
        self._known: list[tuple[list[IDMapping], list[IDMapping], Mapping]] = []

    def of(self, mount: Mount, options: MountOptions, pointer: str) -> Mapping | Joined:
        """The mapping of a mount with the option idmap or ridmap. Raises ConfigError when it cannot have one."""
        if not options.bind and self.spaces.has("user"):
            raise ConfigError(
                "in a container with a user namespace only bind mounts can be id-mapped", pointer=pointer + "/options"
            )
        uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
        if not uids and "user" in self.spaces.joined:
            assert self.opened is not None
            return Joined(self.opened)
        if not uids:
            uids, gids = self.linux.get("uidMappings"), self.linux.get("gidMappings")
            if not uids:
                raise ConfigError("no id mappings for this mount, and none of the container", pointer=pointer)
        for known_uids, known_gids, step in self._known:
            if (known_uids, known_gids) == (uids, gids):
                return step
        assert gids is not None  # a rule of config/rules_rare.py
        step = Mapping(uids, gids, pointer)
        self._known.append((uids, gids, step))
        self.steps.append(step)
        return step


def _map(tree: int, user_namespace: int, recursive: bool, what: str) -> None:
    try:
        mounts.set_attributes(tree, _linux.MOUNT_ATTR_IDMAP, recursive=recursive, userns_fd=user_namespace)
    except OSError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = "the file system, or one mounted below it, has no id-mapped mounts"
        elif error.errno == errno.EPERM:
            hint = "it is id-mapped already, or the file system belongs to another user namespace"
        raise PyruncError(f"id-map the mount of {what}: {reason(error)}", errno=error.errno, hint=hint) from None
