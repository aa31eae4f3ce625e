"""The container's terminal: a pseudo terminal of its own devpts, and /dev/console."""

from __future__ import annotations

import errno
import fcntl
import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import mounts, paths
from pyrunc.linux.paths import is_null
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context


class Terminal(Step):
    """A pseudo terminal of the container's own devpts: its master goes to the runtime, its slave becomes stdio."""

    __slots__ = ("bind", "controls", "height", "uid", "width")
    name = "terminal"
    section = "config.md#process"
    side = CONTAINER

    def __init__(self, height: int, width: int, uid: int, bind: bool, controls: bool = True) -> None:
        """controls: it becomes the controlling terminal of this process, and not of one that is cloned later."""
        Step.__init__(self, "/process/terminal")
        self.controls = controls
        self.height = height
        self.width = width
        self.uid = uid
        self.bind = bind

    def describe(self) -> str:
        return "open a terminal from /dev/pts" + (" and bind it to /dev/console" if self.bind else "")

    def apply(self, context: Context) -> None:
        try:
            master = self._master(context.root_fd)
            slave = fcntl.ioctl(master, _linux.TIOCGPTPEER, posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
        except OSError as error:
            raise PyruncError("open a terminal from /dev/pts/ptmx: " + reason(error), errno=error.errno) from None
        if self.height or self.width:
            size = self.height.to_bytes(2, "little") + self.width.to_bytes(2, "little") + bytes(4)
            fcntl.ioctl(master, _linux.TIOCSWINSZ, size)
        if self.bind:
            self._console(context.root_fd, slave)
        _give(slave, self.uid)
        context.console_fd = master
        if self.controls:
            fcntl.ioctl(slave, _linux.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            posix.dup2(slave, fd, inheritable=True)
        posix.close(slave)

    def _master(self, root_fd: int) -> int:
        fd = paths.open_in_root(root_fd, "/dev/pts/ptmx", posix.O_RDWR | posix.O_NOCTTY, _linux.RESOLVE_NO_SYMLINKS)
        # A container may bind another of its terminals there: only the multiplexer makes a new one.
        if _linux.fstatfs(fd)[0] != _linux.DEVPTS_SUPER_MAGIC or posix.fstat(fd).st_rdev != posix.makedev(5, 2):
            posix.close(fd)
            raise PyruncError("/dev/pts of the container is not a devpts")
        fcntl.ioctl(fd, _linux.TIOCSPTLCK, bytes(4))
        return fd

    def _console(self, root_fd: int, slave: int) -> None:
        """/dev/console is the slave, bound by descriptor (CVE-2025-52565), never through a link (CVE-2026-88264)."""
        dev = paths.make_directories(root_fd, "/dev")
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        try:
            try:
                posix.close(posix.open("console", flags, 0o620, dir_fd=dev))
            except FileExistsError:
                if posix.stat("console", dir_fd=dev, follow_symlinks=False).st_mode & _linux.S_IFMT == _linux.S_IFLNK:
                    raise PyruncError("/dev/console of the rootfs is a symbolic link") from None
            target = posix.open("console", posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=dev)
            tree = mounts.clone(slave)
            mounts.attach(tree, target)
            posix.close(tree)
            posix.close(target)
        finally:
            posix.close(dev)


def _give(slave: int, uid: int) -> None:
    """To the user, so that /dev/stdout can be opened again."""
    try:
        if posix.fstat(slave).st_uid != uid:
            posix.fchown(slave, uid, -1)
    except OSError as error:
        # Not mapped, for one: the program can still use the descriptors that it has.
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise


def reopen_null(root_fd: int) -> None:
    """Standard streams that are the host's /dev/null become the container's (as in runc). Raises OSError."""
    for fd in (0, 1, 2):
        try:
            if not is_null(fd):
                continue
        except OSError:
            continue
        # An image may put something else there (CVE-2026-88265): a FIFO to wait at, a terminal to be controlled by.
        flags = posix.O_RDWR | posix.O_NOCTTY | posix.O_NONBLOCK
        try:
            own = paths.open_in_root(root_fd, "/dev/null", flags, _linux.RESOLVE_NO_SYMLINKS)
        except OSError:
            continue
        if is_null(own):
            posix.set_blocking(own, True)
            posix.dup2(own, fd, inheritable=True)
        posix.close(own)
