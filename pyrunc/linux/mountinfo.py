"""The mounts that a process sees, as /proc/PID/mountinfo has them (proc_pid_mountinfo(5)): the one parser of it."""

from __future__ import annotations

from pyrunc.linux import files, procfs


class Entry:
    """One line of it.

    number, parent: of the mount and of what it lies on. device: "major:minor". root: of the mount within its file
    system. point: where it is. options: of the mount; peers: how it propagates ("shared:7"). Then of the file system:
    fstype, source, super_options.
    """

    __slots__ = ("device", "fstype", "number", "options", "parent", "peers", "point", "root", "source", "super_options")

    def __init__(self, line: str) -> None:
        mount, _, super_block = line.partition(" - ")
        self.number, self.parent, self.device, root, point, options, *self.peers = mount.split(" ")
        self.root = procfs.unescape(root)
        self.point = procfs.unescape(point)
        self.options = options.split(",")
        self.fstype, source, words = (super_block.split(" ") + ["", ""])[:3]
        self.source = procfs.unescape(source)
        self.super_options = words.split(",") if words else []


def parse(data: bytes, wanted: bytes = b"") -> list[Entry]:
    """The entries of a file's content; with wanted, of the lines that have these bytes. Pure."""
    lines = data.split(b"\n")
    return [Entry(line.decode("utf-8", "surrogateescape")) for line in lines if line and wanted in line]


def read(pid: int | str) -> bytes:
    """The file of a process. Raises OSError."""
    return files.read(f"/proc/{pid}/mountinfo", limit=16 << 20)


def entries(pid: int | str) -> list[Entry]:
    """The mounts that a process sees. Raises OSError."""
    return parse(read(pid))


def points() -> list[str]:
    """The mount points of the caller's namespace, the latest first. Raises OSError."""
    return [entry.point for entry in reversed(entries("self"))]


def number_of(fd: int) -> str:
    """Of the mount that an open file of ours is in, as Entry.number. Raises OSError."""
    return mount_number("/proc/self/fdinfo/" + str(fd))


def mount_number(fdinfo: str) -> str:
    """Of the mount that an open file is in, as the first field of mountinfo. fdinfo: its file in /proc (proc(5))."""
    for line in files.read(fdinfo).decode("ascii", "replace").split("\n"):
        if line.startswith("mnt_id:"):
            return line[7:].strip()
    return ""
