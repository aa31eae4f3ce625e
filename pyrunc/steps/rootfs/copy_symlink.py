"""Mount option copy-symlink: a source that is a symbolic link is made anew at the destination; nothing is mounted."""

from __future__ import annotations

import errno
import posix

from pyrunc.linux import paths


def copy(root_fd: int, destination: str, link: int) -> None:
    """Make the link, unless the very same is there. link: a descriptor of the source. Raises OSError (EEXIST)."""
    text = posix.readlink("", dir_fd=link)
    posix.close(link)
    parent, name = paths.open_parent(root_fd, destination)
    try:
        posix.symlink(text, name, dir_fd=parent)
    except FileExistsError:
        if _read(name, parent) != text:
            raise OSError(errno.EEXIST, "symlink", destination) from None
    finally:
        posix.close(parent)


def _read(name: str, parent: int) -> str | None:
    try:
        return posix.readlink(name, dir_fd=parent)
    except OSError:
        return None
