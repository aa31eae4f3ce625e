"""NOTIFY_SOCKET: a container tells the caller's service manager that it is ready (sd_notify(3)).

The container gets a socket of its own. Only its READY=1 is passed on: whatever else is said on the manager's socket,
and every descriptor that is sent there, counts as the runtime's word. Loaded only when the variable is set.
"""

from __future__ import annotations

import _socket
import posix
import select
from typing import TYPE_CHECKING, Final

from pyrunc import log
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import sockets

if TYPE_CHECKING:
    from pyrunc.config.types import Config


# Where the container finds the socket, as with runc.
PLACE: Final = "/run/notify"
_NAME: Final = "notify.sock"
# Milliseconds that the manager gets to say that it has read what we sent (sd_notify_barrier(3)).
_BARRIER: Final = 30000


def add_notify_socket(config: Config, directory: str) -> None:
    """Give the config of a container the socket's directory, below its state directory, and the variable."""
    config["mounts"] = [
        *(config.get("mounts", [])),
        {
            "destination": PLACE,
            "type": "bind",
            "source": directory + "/notify",
            "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
        },
    ]
    process = config["process"]
    process["env"] = [*(process.get("env", [])), f"NOTIFY_SOCKET={PLACE}/{_NAME}"]


def listen(directory: str) -> Notify | None:
    """The container's socket, None when its create was called without NOTIFY_SOCKET. Raises PyruncError."""
    try:
        place = posix.open(directory + "/notify", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    # Every user of the container may write to it. Not by chmod(2), which a container could lead elsewhere.
    umask = posix.umask(0)
    try:
        try:
            posix.unlink(_NAME, dir_fd=place)
        except FileNotFoundError:
            pass
        # By the descriptor: a socket's path has at most 107 bytes.
        sock.bind(f"/proc/self/fd/{place}/{_NAME}")
    except OSError as error:
        raise PyruncError("make the container's notify socket: " + reason(error), errno=error.errno) from None
    finally:
        posix.umask(umask)
        posix.close(place)
    return Notify(sock, posix.environ[b"NOTIFY_SOCKET"])


class Notify:
    """The container's socket, and the address of the manager's."""

    __slots__ = ("manager", "sock")

    def __init__(self, sock: _socket.socket, manager: bytes) -> None:
        self.sock = sock
        self.manager = manager

    def fileno(self) -> int:
        return int(self.sock.fileno())

    def is_ready(self) -> bool:
        """Whether what has come says so. Descriptors that come along are closed by the kernel."""
        while True:
            try:
                datagram: bytes = self.sock.recv(4096)
            except BlockingIOError:
                return False
            if b"READY=1" in datagram.split(b"\n"):
                return True

    def wait(self, pid: int, pidfd: int) -> None:
        """Until the container is ready, or its process has ended; then tell the manager, whose main process it is."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ended = any(fd == pidfd for fd, _ in poll.poll())
            if self.is_ready():
                self.tell(pid)
                return
            if ended:
                return

    def tell(self, pid: int, barrier: bool = True) -> None:
        """READY=1 and MAINPID=pid. barrier: wait until the manager has read it: it asks who a sender is while it runs.

        A manager that cannot be reached is a warning: the container runs.
        """
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            sockets.connect(sock, b"\0" + self.manager[1:] if self.manager[:1] == b"@" else self.manager)
            sock.send(b"READY=1\n")
            sock.send(b"MAINPID=" + str(pid).encode("ascii") + b"\n")
            if barrier:
                _barrier(sock)
        except OSError as error:
            where = self.manager.decode("utf-8", "surrogateescape")
            log.warning(f"tell {where} that the container is ready: {sockets.reason(error)}")
        finally:
            sock.close()


def _barrier(sock: _socket.socket) -> None:
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    try:
        sock.sendmsg([b"BARRIER=1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, writer.to_bytes(4, "little"))])
        posix.close(writer)
        poll = select.poll()
        poll.register(reader, 0)  # its hanging up is always told
        if not poll.poll(_BARRIER):
            log.warning("the service manager does not answer the notification's barrier")
    finally:
        posix.close(reader)
