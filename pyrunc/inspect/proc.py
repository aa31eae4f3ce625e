"""One process as /proc shows it, by a descriptor: never another process that has got its number."""

import os

from pyrunc import _linux
from pyrunc.linux import files
from pyrunc.state.container import Container


class Process:
    """A container's init process. What cannot be read, since it has just ended or is not for the caller, is "".

    pid: as the caller counts. fd: of its directory in /proc.
    """

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.fd = fd
        lines = [line.partition(":") for line in self.text("status").splitlines()]
        #: proc_pid_status(5)
        self.status = {name: value.strip() for name, _, value in lines}

    def close(self) -> None:
        os.close(self.fd)

    def text(self, name: str, limit: int = 64 << 20) -> str:
        """The text of a file of its directory, without the last newline."""
        try:
            data = files.read(name, dir_fd=self.fd, limit=limit)
        except OSError:
            return ""
        return data.decode("utf-8", "surrogateescape").rstrip("\0\n")

    def namespace(self, kind: str) -> int | None:
        """The inode of its namespace of that name in /proc/PID/ns."""
        try:
            return os.stat("ns/" + kind, dir_fd=self.fd).st_ino
        except OSError:
            return None

    def ids(self, field: str) -> list[int]:
        """The numbers of Uid, Gid or Groups in its status, as its own user namespace counts them."""
        extents = id_map(self.text("gid_map" if field != "Uid" else "uid_map"))
        return [inside(int(word), extents) for word in self.status.get(field, "").split()]


def open_process(container: Container) -> Process | None:
    """The container's init process; None when it has ended. Raises OSError."""
    if not container.pid:
        return None
    try:
        fd = os.open(f"/proc/{container.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    # Opened first, compared then: what the descriptor names cannot change any more.
    if not container.is_alive():
        os.close(fd)
        return None
    return Process(container.pid, fd)


def id_map(text: str) -> list[tuple[int, int, int]]:
    """uid_map or gid_map: (first inside, first outside, how many), in the order of the first."""
    lines = (line.split() for line in text.splitlines())
    return sorted((int(line[0]), int(line[1]), int(line[2])) for line in lines if len(line) == 3)


#: What stands for an id that is not mapped: /proc/sys/kernel/overflowuid.
OVERFLOW = 65534


def inside(number: int, extents: list[tuple[int, int, int]]) -> int:
    """An id of the caller's user namespace as the mapped one counts it."""
    for first, outside, size in extents:
        if outside <= number < outside + size:
            return first + number - outside
    return OVERFLOW


def capabilities(mask: str) -> list[str]:
    """The names of a set in hexadecimal, those that this build does not know by number."""
    names = {number: name for name, number in _linux.CAPS.items()}
    value = int(mask, 16)
    return [names.get(number, str(number)) for number in range(value.bit_length()) if value >> number & 1]
