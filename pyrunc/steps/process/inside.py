"""A container's files, looked at when something there could not be executed. Loaded only then.

What stands there was written by whoever made the image, and may change while it is looked at: a path is walked name by
name below a descriptor of the root, links are read and not followed by the kernel, and only ordinary files are opened.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.config.types import Mount

# As the kernel has them: MAXSYMLINKS of its linux/namei.h. Names in one walk, those of links among them.
_LINKS: Final = 40
_NAMES: Final = 4096
# So many names of a directory are looked at.
_ENTRIES: Final = 5000
# File types of inode(7).


class Unknown(Exception):
    """What is there cannot be seen from here: it lies on a file system that went with the container."""


class Stopped(Exception):
    """Where a walk ended. number: errno. folder: the directory; name: what was looked up in it; link: by which link."""

    def __init__(self, number: int, folder: str, name: str, link: str) -> None:
        Exception.__init__(self)
        self.number = number
        self.folder = folder
        self.name = name
        self.link = link


class Place:
    """Where a walk has led. fd: O_PATH, to be closed by close(). names: without links. status: as fstat(2) has it."""

    __slots__ = ("_files", "fd", "names", "path", "status")

    def __init__(self, files: Inside, names: list[str]) -> None:
        """Raises OSError, Unknown."""
        self._files = files
        self.names = names
        self.path = _path(names)
        self.fd = files.open(names, posix.O_PATH)
        self.status = posix.fstat(self.fd)

    def is_directory(self) -> bool:
        return self.status.st_mode & _linux.S_IFMT == _linux.S_IFDIR

    def is_file(self) -> bool:
        return self.status.st_mode & _linux.S_IFMT == _linux.S_IFREG

    def is_noexec(self) -> bool:
        """Whether its mount is."""
        return bool(posix.fstatvfs(self.fd).f_flag & posix.ST_NOEXEC)

    def read(self, size: int, offset: int = 0) -> bytes:
        """So much of an ordinary file; less at its end. Raises OSError, Unknown when it is none."""
        fd = self._again(posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY, _linux.S_IFREG)
        try:
            return posix.pread(fd, size, offset)
        finally:
            posix.close(fd)

    def entries(self) -> list[str]:
        """Some of the names in a directory. Raises OSError, Unknown when it is none."""
        fd = self._again(posix.O_RDONLY | posix.O_DIRECTORY, _linux.S_IFDIR)
        found: list[str] = []
        try:
            with posix.scandir(fd) as entries:
                for entry in entries:
                    found.append(entry.name)
                    if len(found) >= _ENTRIES:
                        break
        finally:
            posix.close(fd)
        return sorted(found)

    def _again(self, flags: int, kind: int) -> int:
        """The same file, opened: by its name where that is done as the container's user and under its device rules.

        There /proc need not know this process, which is about to join a pid namespace.
        """
        if self.status.st_mode & _linux.S_IFMT != kind:
            raise Unknown
        if self._files.is_outside:
            # The very one: its name may be a device's by now, and to open one on the host can do harm (watchdog).
            return posix.open("/proc/self/fd/" + str(self.fd), flags | posix.O_CLOEXEC)
        fd = self._files.open(self.names, flags)
        now = posix.fstat(fd)
        if (now.st_dev, now.st_ino) != (self.status.st_dev, self.status.st_ino):
            posix.close(fd)
            raise Unknown  # it was exchanged meanwhile
        return fd

    def close(self) -> None:
        posix.close(self.fd)


class Inside:
    """The files below a root. root: O_PATH, which becomes this object's.

    mounts: a config's, where they are not there any more, since the root is seen from the host: of a bind its source is
    looked at, of any other mount nothing is known. bundle: what their sources are relative to. told: the config's, in
    any case. is_outside: whether it is the runtime that looks, as the host's root it may be.
    """

    __slots__ = ("_bundle", "_mounts", "_root", "is_outside", "told")

    def __init__(self, root: int, mounts: Sequence[Mount] = (), bundle: str = "/", *, is_outside: bool = False) -> None:
        self.is_outside = is_outside
        self._root = root
        self._bundle = bundle
        self._mounts = [(_names(mount["destination"]), mount) for mount in mounts]
        self.told = mounts

    def close(self) -> None:
        posix.close(self._root)

    def walk(self, path: str, cwd: str = "/") -> Place:
        """What execve(2) would find. Raises Stopped, Unknown, OSError."""
        here: list[str] = []
        waiting = _names(path if path.startswith("/") else f"{cwd}/{path}")[::-1]
        links = names = 0
        link = ""
        while waiting:
            name = waiting.pop()
            names += 1
            if names > _NAMES:
                raise Stopped(errno.ENAMETOOLONG, _path(here), name, link)
            if name == "..":
                here = here[:-1]
                continue
            place = self._look(here, name, link)
            if place.status.st_mode & _linux.S_IFMT != _linux.S_IFLNK:
                if not waiting:
                    return place
                folder = place.is_directory()
                place.close()
                if not folder:
                    raise Stopped(errno.ENOTDIR, _path(here), name, link)
                here.append(name)
                continue
            try:
                target = posix.readlink("", dir_fd=place.fd)
            finally:
                place.close()
            links += 1
            link = place.path
            if links > _LINKS:
                raise Stopped(errno.ELOOP, _path(here), name, link)
            waiting += _names(target)[::-1]
            if target.startswith("/"):
                here = []
        return Place(self, here)

    def names(self, folder: str) -> list[str]:
        """Some of what stands in a directory, [] when that cannot be known. Raises nothing."""
        try:
            place = self.walk(folder)
        except (Stopped, Unknown, OSError):
            return []
        try:
            return place.entries()
        except (Unknown, OSError):
            return []
        finally:
            place.close()

    def pointer(self, path: str, option: str) -> str:
        """Where the config asks for an option of the mount that a path is on, "" when it does not."""
        index = _mount([_names(mount["destination"]) for mount in self.told], _names(path))
        if index < 0:
            return ""
        options = self.told[index].get("options") or []
        return f"/mounts/{index}/options/{options.index(option)}" if option in options else ""

    def _look(self, here: list[str], name: str, link: str) -> Place:
        try:
            return Place(self, [*here, name])
        except OSError as error:
            raise Stopped(error.errno or 0, _path(here), name, link) from None

    def open(self, names: list[str], flags: int) -> int:
        """A path without links. Raises OSError, Unknown."""
        index = _mount([destination for destination, _ in self._mounts], names)
        base, source = self._root, ""
        if index >= 0:
            destination, mount = self._mounts[index]
            names = names[len(destination) :]
            options = mount.get("options") or ()
            source = mount.get("source") or ""
            if (mount.get("type") != "bind" and "bind" not in options and "rbind" not in options) or not source:
                raise Unknown
            source = source if source.startswith("/") else f"{self._bundle}/{source}"
            base = posix.open(source, posix.O_PATH | posix.O_CLOEXEC)
        try:
            if not names and flags == posix.O_PATH:
                return posix.dup(base)  # who may not search it may have this much
            resolve = _linux.RESOLVE_BENEATH | _linux.RESOLVE_NO_SYMLINKS | _linux.RESOLVE_NO_MAGICLINKS
            flags |= posix.O_NOFOLLOW | posix.O_CLOEXEC
            if names:
                return _linux.openat2(base, "/".join(names), flags, 0, resolve)
            if posix.fstat(base).st_mode & _linux.S_IFMT == _linux.S_IFDIR:
                return _linux.openat2(base, ".", flags, 0, resolve)
            # A file that is bound: by the host's own name for it.
            return posix.open(source, flags & ~posix.O_NOFOLLOW)
        finally:
            if base != self._root:
                posix.close(base)


def _mount(destinations: list[list[str]], names: list[str]) -> int:
    """Which mount of a config a path without links lies on, -1 for the root's. The last one hides others."""
    for index in range(len(destinations) - 1, -1, -1):
        if names[: len(destinations[index])] == destinations[index]:
            return index
    return -1


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _path(names: list[str]) -> str:
    return "/" + "/".join(names)
