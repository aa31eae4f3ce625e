"""Descriptors that are sent by sockets, and what comes from them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .waiting import PATIENCE


def bind_socket(sock: socket.socket, path: Path) -> None:
    """bind(2) to a path of any length: an address has room for 107 bytes."""
    before = Path.cwd()
    os.chdir(path.parent)
    sock.bind(path.name)
    os.chdir(before)


class Receiver:
    """A socket that takes the descriptors which the runtime sends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        bind_socket(self.socket, path)
        self.socket.listen()
        self.socket.settimeout(PATIENCE)
        self.taken: list[int] = []

    def take(self) -> tuple[int, bytes]:
        """The next descriptor, and the data that it came with."""
        connection, _ = self.socket.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        self.taken += fds
        (fd,) = fds
        return fd, data


@contextmanager
def receiver(path: Path) -> Iterator[Receiver]:
    made = Receiver(path)
    try:
        yield made
    finally:
        made.socket.close()
        for fd in made.taken:
            os.close(fd)
