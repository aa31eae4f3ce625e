"""Mount option copy-symlink: a source that is a symbolic link is made anew at the destination; nothing is mounted."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING

from pyrunc.linux import paths

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.rootfs.mount import MountStep


def copy(step: MountStep, context: Context, link: int) -> None:
    """Make the link, unless the very same is there. link: a descriptor of the source. Raises OSError (EEXIST)."""
    text = posix.readlink("", dir_fd=link)
    posix.close(link)
    parent, name = paths.open_parent(context.root_fd, step.destination)
    try:
        posix.symlink(text, name, dir_fd=parent)
    except FileExistsError:
        if _read(name, parent) != text:
            raise OSError(errno.EEXIST, "symlink", step.destination) from None
    finally:
        posix.close(parent)


def _read(name: str, parent: int) -> str | None:
    try:
        return posix.readlink(name, dir_fd=parent)
    except OSError:
        return None
