"""Which mounts are of our making: noted as they are made, by what the kernel knows them by.

A path tells nothing of a mount in a running container, which can rename what leads there. The container process notes
each mount in a file in memory that it shares with the runtime, which keeps the notes in state.json ("mounts").
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.linux import paths

if TYPE_CHECKING:
    from pyrunc.config.types import MountRecord
    from pyrunc.steps.context import Context

_FIELDS = 6


def begin(context: Context) -> None:
    """Open the file for notes, before the container process is made. Raises OSError."""
    context.mounts_fd = posix.memfd_create("mounts", posix.MFD_CLOEXEC)


def note(context: Context, mount_fd: int, destination: str, place: str) -> None:
    """Note a mount, by a descriptor of its root.

    place: its path from the container's root, without links; "" for a mount that is no more. Raises OSError.
    """
    if context.mounts_fd < 0:
        return
    number, unique = _linux.mount_id(mount_fd)
    status = posix.fstat(mount_fd)
    numbers = (number, int(unique), status.st_dev, status.st_ino)
    words = [plain(destination), place, *map(str, numbers)]
    # One write: what is there is whole, wherever the process ends.
    posix.write(context.mounts_fd, ("\0".join(words) + "\0").encode("utf-8", "surrogateescape"))


def take(context: Context) -> list[MountRecord]:
    """What has been noted, for state.json: destination and path (as above), id, unique (whether the id is never used
    again; else device and inode of the mount's root count as well).
    """
    if context.mounts_fd < 0:
        return []
    size = posix.fstat(context.mounts_fd).st_size
    text = posix.pread(context.mounts_fd, size, 0).decode("utf-8", "surrogateescape")
    posix.close(context.mounts_fd)
    context.mounts_fd = -1
    words = text.split("\0")
    return [
        {
            "destination": words[at],
            "path": words[at + 1],
            "id": int(words[at + 2]),
            "unique": words[at + 3] == "1",
            "device": int(words[at + 4]),
            "inode": int(words[at + 5]),
        }
        for at in range(0, len(words) - _FIELDS, _FIELDS)
    ]


def is_same(record: MountRecord, fd: int) -> bool:
    """Whether a descriptor is on the mount of this record."""
    number, unique = _linux.mount_id(fd)
    if record["id"] != number or record["unique"] != unique:
        return False
    status = posix.fstat(fd)
    return unique or (record["device"], record["inode"]) == (status.st_dev, status.st_ino)


def plain(destination: str) -> str:
    """A destination without what names nothing, so that two spellings of one are the same."""
    return "/" + "/".join(paths.components(destination))
