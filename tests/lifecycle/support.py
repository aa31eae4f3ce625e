"""What the lifecycle tests look with: at processes and mounts from outside, and at descriptors that are sent."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..workplace import PATIENCE, Bundle

#: Namespace type in config.json: file in /proc/PID/ns.
NAMESPACE_FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}

#: Of the tests' user namespaces: users and groups 0 to 65535 are these on the host.
MAPPED = 100000


def running(box: Bundle) -> int:
    """Run it detached; its process."""
    box.run("--detach").ok()
    return box.pid()


@contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host's, with a later start time than all before it.

    The kernel counts start times in clock ticks (proc_pid_stat(5)), and a container is made within one.
    """
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            yield other
        finally:
            other.kill()


def in_foreground(box: Bundle, command: str, *args: str, tty: bool = False) -> list[str | Path]:
    """The call that has args executed by exec in the container that runs, or by run in a new one."""
    if command == "exec":
        return ["exec", *(["--tty"] if tty else []), box.id, *args]
    box.config["process"]["terminal"] = tty
    box.config["process"]["args"] = list(args)
    return ["run", "--bundle", box.save(), box.id]


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def namespaces_of(pid: int | str) -> dict[str, str]:
    """Type to what the kernel calls the namespace, such as pid:[4026531836]."""
    return {kind: os.readlink(f"/proc/{pid}/ns/{file}") for kind, file in NAMESPACE_FILES.items()}


def has_ended(pid: int) -> bool:
    """Whether the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX"
    except FileNotFoundError:
        return True


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")[:-1]


class Mount(NamedTuple):
    """One line of /proc/PID/mountinfo (proc(5))."""

    root: str
    options: set[str]
    propagation: str
    fstype: str
    source: str
    superblock: set[str]


def mounts_of(pid: int) -> dict[str, Mount]:
    """Mount point to what is mounted there (of several, the latest)."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        _, _, _, root, point, options, *propagation = head.split()
        fstype, source, superblock = tail.split(" ", 2)
        found[point] = Mount(
            root, set(options.split(",")), " ".join(propagation), fstype, source, set(superblock.split(","))
        )
    return found


def set_namespaces(box: Bundle, *new: str, **joined: int | str) -> None:
    """New namespaces, and some to join: by a path, or by the number of a process that is in them."""
    entries: list[dict[str, str]] = [{"type": kind} for kind in new]
    for kind, where in joined.items():
        path = where if isinstance(where, str) else f"/proc/{where}/ns/{NAMESPACE_FILES[kind]}"
        entries.append({"type": kind, "path": path})
    box.config["linux"]["namespaces"] = entries
    if "uts" not in new and "uts" not in joined:
        box.config.pop("hostname", None)


def add_user_namespace(box: Bundle) -> None:
    """A new user namespace beside what namespaces the config has."""
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": MAPPED, "size": 65536}]


def script(box: Bundle, text: str, name: str = "script") -> str:
    """A shell script in the rootfs; its path in there."""
    file = box.rootfs / "bin" / name
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)
    return f"/bin/{name}"


def with_descriptors(box: Bundle, redirections: str) -> None:
    """From now on the runtime is called with these descriptors, in the shell's words ("3>FILE 4<FILE")."""
    wrapper = box.path / "runtime-with-descriptors"
    wrapper.write_text(f'#!/bin/sh\nexec {redirections}\nexec {box.place.runtime} "$@"\n')
    wrapper.chmod(0o755)
    box.place.runtime = wrapper


def bind(sock: socket.socket, path: Path) -> None:
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
        bind(self.socket, path)
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


def read_all(fd: int, until: bytes = b"") -> bytes:
    """What comes from a terminal's master until its end, or until these bytes have come."""
    data = b""
    while not until or until not in data:
        try:
            chunk = os.read(fd, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            break
        if not chunk:
            break
        data += chunk
    return data


def one_line(got: Any, status: int, *words: str) -> str:
    """The result is an error of that status: one line, with these words, and no traceback. Returns the line."""
    text: str = got.stderr
    assert got.returncode == status, (got.args, got.returncode, got.stdout, text)
    assert text.count("\n") == 1, text
    for word in words:
        assert word in text, text
    assert "internal error" not in text and "Traceback" not in text, text
    return text
