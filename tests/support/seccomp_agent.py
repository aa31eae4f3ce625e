"""An agent that decides the calls of containers, by the listener that the runtime sends it (seccomp_unotify(2))."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.descriptors import bind_socket
from tests.support.workplace import Bundle

# linux/seccomp.h
_IOC_NR = 0x2100

_RECV = 0xC0000000 | 80 << 16 | _IOC_NR

_SEND = 0xC0000000 | 24 << 16 | _IOC_NR | 1

_CONTINUE = 1


class Notification(ctypes.Structure):
    """struct seccomp_notif."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("nr", ctypes.c_int32),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


class Answer(ctypes.Structure):
    """struct seccomp_notif_resp."""

    _fields_ = (("id", ctypes.c_uint64), ("val", ctypes.c_int64), ("error", ctypes.c_int32), ("flags", ctypes.c_uint32))


class Agent:
    """Listens on a socket, and decides the calls of whoever a listener comes from.

    decide: from a notification to (value, errno), None to let the call happen.
    """

    def __init__(self, path: Path, decide: Callable[[Notification], tuple[int, int] | None]) -> None:
        self.path = path
        self.decide = decide
        #: Of each connection: what the first message had, the JSON, the number of descriptors in each message.
        self.states: list[dict[str, Any]] = []
        self.descriptors: list[list[int]] = []
        self.seen: list[Notification] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bind_socket(self.socket, path)
        self.socket.listen()
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            fds = array.array("i")
            counts: list[int] = []
            data = b""
            while True:
                part, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4 * 8))
                for level, kind, rights in ancillary:
                    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                    fds.frombytes(rights)
                counts.append(len(fds) - sum(counts))
                if not part:
                    break
                data += part
            connection.close()
            # At its end the runtime has closed it.
            self.states.append(json.loads(data))
            self.descriptors.append(counts)
            for fd in fds:
                thread = threading.Thread(target=self._serve, args=(fd,), daemon=True)
                thread.start()

    def _serve(self, fd: int) -> None:
        while True:
            request = bytearray(80)
            try:
                fcntl.ioctl(fd, _RECV, request)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                break  # nobody is under the filter any more
            notification = Notification.from_buffer(request)
            self.seen.append(notification)
            decided = self.decide(notification)
            if decided is None:
                answer = Answer(notification.id, 0, 0, _CONTINUE)
            else:
                answer = Answer(notification.id, decided[0], -decided[1], 0)
            try:
                fcntl.ioctl(fd, _SEND, bytes(answer))
            except OSError as error:
                assert error.errno == errno.ENOENT  # it was killed meanwhile
        os.close(fd)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.threads[0].join(10)


def deny(_: Notification) -> tuple[int, int]:
    return 0, errno.EXDEV


def notify(box: Bundle, path: Path | str, *names: str, **more: Any) -> Bundle:
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "syscalls": [{"names": list(names) or ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        **more,
    }
    return box
