"""Mounts, as a process sees them."""

from pathlib import Path
from typing import NamedTuple

from .workplace import Bundle


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


def bind(box: Bundle, source: str | Path, destination: str, *options: str) -> None:
    """A bind mount at the end of the config's mounts: `bind` if the options say neither that nor `rbind`."""
    if "bind" not in options and "rbind" not in options:
        options = ("bind", *options)
    box.config["mounts"].append(
        {"destination": destination, "type": "bind", "source": str(source), "options": list(options)}
    )
