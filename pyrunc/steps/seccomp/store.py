"""Put a compiled profile into the cache. Loaded when the cache has no entry."""

from __future__ import annotations

import posix
import time
from typing import Final

from pyrunc import log
from pyrunc.linux import files
from pyrunc.steps.seccomp.cache import open_folder

MAX_ENTRIES: Final = 64
# Seconds after which a temporary file's writer is taken for dead.
_ABANDONED: Final = 60


def store(cache_dir: str, name: str, data: bytes) -> None:
    """Put an entry into the cache. Never fails: without a cache there is no speed, but a container.

    The folder is made when it is missing, in a folder that exists. It is used only when it is the caller's alone.
    """
    try:
        try:
            posix.mkdir(cache_dir, 0o700)
        except FileExistsError:
            pass
        folder = open_folder(cache_dir)
    except OSError as error:
        log.debug("seccomp: no cache in " + cache_dir + ": " + (error.strerror or ""))
        return
    try:
        _make_room(folder, name)
        files.replace_by("." + posix.urandom(8).hex(), name, data, 0o600, folder)
    except OSError as error:
        log.debug("seccomp: not kept in " + cache_dir + ": " + (error.strerror or ""))
    finally:
        posix.close(folder)


def _make_room(folder: int, name: str) -> None:
    """Leave at most MAX_ENTRIES, that to come included: what was not used for the longest time goes. Raises OSError."""
    now = time.time()
    kept = []
    for other in posix.listdir(folder):
        try:
            changed = posix.stat(other, dir_fd=folder, follow_symlinks=False).st_mtime
            if not other.startswith("."):
                kept.append((changed, other))
            elif not 0 <= now - changed < _ABANDONED:
                posix.unlink(other, dir_fd=folder)
        except FileNotFoundError:
            pass  # another runtime was faster
    kept = sorted(entry for entry in kept if entry[1] != name)
    for _, other in kept[: max(0, len(kept) + 1 - MAX_ENTRIES)]:
        try:
            posix.unlink(other, dir_fd=folder)
        except OSError:
            pass  # gone already, or a folder that somebody put there
