"""The user namespace: its maps, and the change into it."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import IDMapping
    from pyrunc.steps.context import Context


def compare_maps(file: str, wanted: list[IDMapping] | None, pointer: str) -> None:
    """See that the map of our user namespace is the one that the config has. Raises PyruncError, OSError."""
    if not wanted:
        return
    found = [[int(field) for field in line.split()] for line in files.read("/proc/self/" + file).splitlines()]
    if sorted(found) != sorted([entry["containerID"], entry["hostID"], entry["size"]] for entry in wanted):
        raise PyruncError("the user namespace that is joined has other mappings", pointer=pointer)


def become_root(rootless: bool) -> None:
    """Become user and group 0 of the user namespace just entered. Raises OSError.

    rootless: the runtime is an ordinary user, who may write the files of a process, trace it and open its namespaces
    only while it is what prctl(2) calls dumpable. Nobody in a joined pid namespace sees it yet (process/last_steps.py).
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
        return f"map users {mapping_words(self.uids)} and groups {mapping_words(self.gids)}"

    def apply(self, context: Context) -> None:
        directory = f"/proc/{context.pid}/"
        if context.host.rootless:
            # The caller's own user only: this is not loaded for a runtime that runs as root.
            from pyrunc.linux import newidmap

            newidmap.write(context.pid, self.uids, self.gids)
            return
        try:
            files.write(directory + "gid_map", mapping_lines(self.gids))
            files.write(directory + "uid_map", mapping_lines(self.uids))
        except OSError as error:
            raise PyruncError("write id mappings: " + reason(error), errno=error.errno) from None


def mapping_words(mappings: list[IDMapping]) -> str:
    """Id mappings for a person."""
    return ", ".join(f"{entry['containerID']}={entry['hostID']}+{entry['size']}" for entry in mappings)


def mapping_lines(mappings: list[IDMapping]) -> bytes:
    """Id mappings as uid_map takes them (user_namespaces(7))."""
    return "".join(f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in mappings).encode("ascii")
