"""The cgroups of tests: all lie below one parent of ours in every hierarchy."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

#: Parent of all cgroups of this test session, as a cgroupsPath.
CGROUP_ROOT = f"/pyrunc-test-{os.getpid()}"


def hierarchies() -> dict[str, Path]:
    """Mount point of every cgroup hierarchy, by each of its v1 controllers' names; "unified" is cgroup v2's.

    Of several the first, which is the host's own: a container without a mount namespace has another.
    """
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, tail = line.split(" - ")
        fstype, _, options = tail.split(" ", 2)
        where = Path(head.split()[4])
        if fstype == "cgroup2":
            found.setdefault("unified", where)
        elif fstype == "cgroup":
            for option in options.split(","):
                if option not in ("rw", "ro", "xattr"):
                    found.setdefault(option.removeprefix("name="), where)
    return found


def cgroups_below(cgroup: str, *, itself: bool = False) -> list[Path]:
    """Folders below (or also at) that cgroupsPath, in all hierarchies, parents first."""
    found: list[Path] = []
    for mount in sorted(set(hierarchies().values())):
        top = mount / cgroup.lstrip("/")
        if itself and top.is_dir():
            found.append(top)
        found.extend(_folders(top))
    return found


def _folders(top: Path) -> Iterator[Path]:
    try:
        entries = [entry for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        yield Path(entry.path)
        yield from _folders(Path(entry.path))


def pids_in(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def thaw() -> None:
    for folder in cgroups_below(CGROUP_ROOT):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (folder / name).exists():
                (folder / name).write_text(value)


def remove_cgroups(cgroup: str = CGROUP_ROOT) -> None:
    """Remove that cgroup and all below it, deepest first. One stays busy for a moment after its last process."""
    for _ in range(200):
        left = [folder for folder in reversed(cgroups_below(cgroup, itself=True)) if not _removed(folder)]
        if not left:
            return
        time.sleep(0.02)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
