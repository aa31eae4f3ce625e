"""cpuset.cpus and cpuset.mems of cgroup v1, which must not be empty before a process joins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.cgroups.files import read_file, write_file

if TYPE_CHECKING:
    # (file, value, config pointer below resources)
    Setting = tuple[str, object, str]


def fill(directory: str, file: str, empty: bool = False) -> str:
    """Copy cpuset.cpus or mems down to directory from the nearest cgroup above that has any; returns what it has then.

    empty: it is known to have none. Raises OSError.
    """
    if not empty:
        value = read_file(f"{directory}/{file}")
        if value:
            return value
    parent = directory.rpartition("/")[0]
    try:
        value = fill(parent, file)
    except FileNotFoundError:
        # Above the mount point.
        return ""
    if value:
        write_file(f"{directory}/{file}", value)
    return value
