"""What the attacks have in common: a container that an attacker could have, and what is looked at from outside."""

import ctypes
import json
import multiprocessing
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.mounts import bind
from tests.support.processes import reap
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, Workplace

ATTACKERS = Path(__file__).with_name("attackers")

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_IN_OPEN = 0x20


def with_python(box: Bundle, attacker: str, *args: str) -> None:
    """The container runs one of attackers/ with the host's Python, which it has a read-only copy of."""
    for name in ("lib", "lib64"):
        (box.rootfs / name).symlink_to(f"usr/{name}")
    (box.rootfs / attacker).write_bytes((ATTACKERS / attacker).read_bytes())
    bind(box, "/usr", "/usr", "rbind", "ro")
    box.config["process"]["args"] = ["/usr/bin/python3", "-I", "-S", "/" + attacker, *args]


def may(box: Bundle, *capabilities: str) -> None:
    """The program has these capabilities and may gain others: no no_new_privs."""
    box.config["process"]["capabilities"] = {
        kind: list(capabilities) for kind in ("bounding", "effective", "permitted")
    }
    box.config["process"]["noNewPrivileges"] = False


def records(text: str) -> list[dict[str, Any]]:
    """The JSON objects of an output, one a line; what is cut off or none is left out."""
    found = []
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}"):
            found.append(json.loads(line))
    return found


def mount_numbers(pid: int) -> set[int]:
    """The mounts of a process's mount namespace (proc(5), mountinfo)."""
    return {int(line.split()[0]) for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}


def end(box: Bundle) -> None:
    """Kill and delete it. What it had of exec's orphans are children of ours, and its init process waits for them."""
    box.kill()

    def ended() -> bool:
        reap()
        return box.status() == "stopped"

    wait_until(ended, "the container has stopped")
    box.delete("--force").ok()


def without_mount(box: Bundle, destination: str) -> None:
    """Take the mount at that place, and all below it, out of the config."""
    box.config["mounts"] = [
        mount
        for mount in box.config["mounts"]
        if mount["destination"] != destination and not mount["destination"].startswith(destination + "/")
    ]


def tree(path: Path) -> dict[str, tuple[int, int, int, int, str]]:
    """Every name below path and path itself: mode, owner, inode, and content or a link's target."""
    found = {}
    names = [str(path)]
    for folder, folders, files in os.walk(path):
        names += [os.path.join(folder, name) for name in (*folders, *files)]
    for name in names:
        status = os.lstat(name)
        text = ""
        if stat.S_ISLNK(status.st_mode):
            text = os.readlink(name)
        elif stat.S_ISREG(status.st_mode):
            text = Path(name).read_text()
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, text)
    return found


class Decoy:
    """A place of the host's that no container has any business in, and what it was like before the attack."""

    def __init__(self, place: Workplace) -> None:
        self.path = place.path / "decoy"
        self.path.mkdir()
        (self.path / "folder").mkdir()
        (self.path / "file").write_text("the host's")
        os.chown(self.path / "file", 4242, 4242)
        self.before = tree(self.path)

    def links(self, rootfs: Path, name: str = "") -> list[str]:
        """Links that lead there: from the root of the host, from that of the container, and upwards."""
        target = f"{self.path}/{name}".rstrip("/")
        up = "/".join([".."] * (len(rootfs.parts) + 3))
        return [target, up + target]

    def check(self) -> None:
        assert tree(self.path) == self.before


def _exchange(one: bytes, other: bytes) -> None:
    while True:
        _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """Two names change places all the time, as a container can do it to another on a volume that they share."""
    process = multiprocessing.get_context("fork").Process(target=_exchange, args=(bytes(one), bytes(other)))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


class Opens:
    """Tells which of some files have been opened, by whomever and in whatever mount namespace (inotify(7))."""

    def __init__(self, paths: list[Path]) -> None:
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.names = {_libc.inotify_add_watch(self.fd, bytes(path), _IN_OPEN): path.name for path in paths}
        assert self.fd >= 0 and -1 not in self.names

    def names_opened(self) -> set[str]:
        found: set[str] = set()
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return found
            while data:
                watch, _, _, size = struct.unpack_from("iIII", data)
                found.add(self.names[watch])
                data = data[16 + size :]

    def close(self) -> None:
        os.close(self.fd)
