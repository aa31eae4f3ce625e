"""The mounts that a process sees, as /proc/PID/mountinfo has them (proc_pid_mountinfo(5))."""

from __future__ import annotations

from pyrunc.linux import files, procfs


class Entry:
    """One line of /proc/PID/mountinfo (proc(5)). device: "major:minor". root: of the mount within its file system."""

    __slots__ = ("device", "number", "options", "parent", "point", "root")

    def __init__(self, line: str) -> None:
        fields = line.split(" ")
        self.number = fields[0]
        self.parent = fields[1]
        self.device = fields[2]
        self.root = procfs.unescape(fields[3])
        self.point = procfs.unescape(fields[4])
        self.options = set(fields[5].split(","))


def entries(pid: int | str) -> list[Entry]:
    """The mounts that a process sees. Raises OSError."""
    text = files.read(f"/proc/{pid}/mountinfo", limit=16 << 20).decode("utf-8", "surrogateescape")
    return [Entry(line) for line in text.split("\n") if line]


def number_of(fd: int) -> str:
    """Of the mount that an open file of ours is in, as Entry.number. Raises OSError."""
    return mount_number("/proc/self/fdinfo/" + str(fd))


def mount_number(fdinfo: str) -> str:
    """Of the mount that an open file is in, as the first field of mountinfo. fdinfo: its file in /proc (proc(5))."""
    for line in files.read(fdinfo).decode("ascii", "replace").split("\n"):
        if line.startswith("mnt_id:"):
            return line[7:].strip()
    return ""
