"""What goes from the caller to the container's process, and back: descriptors, sockets, the pid file."""

from __future__ import annotations

import _socket
import errno
import gc
import posix
import time
from typing import TYPE_CHECKING, Final

from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, sockets

if TYPE_CHECKING:
    from pyrunc.config.types import Process


# Seconds that a socket of the caller's may take to be there.
_PATIENCE: Final = 0.05


def inherited(process: Process | None, preserve_fds: int) -> int:
    """How many descriptors from 3 on the process keeps, each seen to be there. Raises PyruncError."""
    count = _listen_fds(process) + preserve_fds
    for number in range(3, 3 + count):
        try:
            # One that execve(2) would close did not come from the caller: it is ours, the log for one.
            there = posix.get_inheritable(number)
        except OSError:
            there = False
        if not there:
            raise PyruncError(f"file descriptor {number} does not exist, so it cannot be preserved", errno=errno.EBADF)
    return count


def _listen_fds(process: Process | None) -> int:
    """LISTEN_FDS of socket activation (sd_listen_fds(3)), if meant for this process: handed on to the container's."""
    environ = posix.environ
    count, pid = environ.get(b"LISTEN_FDS", b""), environ.get(b"LISTEN_PID", b"")
    if not count.isdigit() or pid != str(posix.getpid()).encode("ascii"):
        return 0
    number = int(count)
    if number and process:
        process["env"] = [*process.get("env", []), "LISTEN_FDS=" + str(number), "LISTEN_PID=1"]
    return number


def freeze_gc() -> None:
    """The container process is a copy of this one: it shall not copy more pages than it must."""
    gc.disable()
    gc.freeze()


def write_pid_file(path: str, pid: int) -> None:
    """Write a process number, without a newline, atomically. Raises PyruncError."""
    try:
        files.replace(path, str(pid).encode("ascii"), 0o644)
    except OSError as error:
        raise PyruncError(f"write pid file {path}: {reason(error)}", errno=error.errno) from None


def connect(path: str) -> _socket.socket:
    """Who listens there may have been started just before us, and be slower: that is waited for a little."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            sockets.connect(sock, path)
            return sock
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED) or time.monotonic() > deadline:
                sock.close()
                words = f"connect to socket {path}: {sockets.reason(error)}"
                raise PyruncError(words, errno=error.errno) from None
        time.sleep(0.001)


def send_fd(sock: _socket.socket, fd: int, name: bytes, what: str) -> None:
    """Send one descriptor with its name as the data, as the engines' consoles expect it. Raises PyruncError."""
    try:
        sock.sendmsg([name], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))])
    except OSError as error:
        raise PyruncError(f"send to {what}: {reason(error)}", errno=error.errno) from None
    finally:
        sock.close()
