"""Why a container does not get a cgroup, in the words that runc's callers know. Loaded when there is a reason."""

from __future__ import annotations

import posix
from errno import EACCES

from pyrunc.cgroups.files import REFUSED
from pyrunc.errors import PyruncError, reason


def not_empty(count: int, directory: str) -> PyruncError:
    """The refusal of a cgroup in which processes are: they would be limited and killed with the container's."""
    return PyruncError(
        f"container's cgroup is not empty: {count} process(es) found in {directory}",
        step="cgroup",
        pointer="/linux/cgroupsPath",
    )


def frozen(directory: str) -> PyruncError:
    """The refusal of a frozen cgroup, in which the container process would stop for good."""
    return PyruncError(
        "container's cgroup unexpectedly frozen: " + directory, step="cgroup", pointer="/linux/cgroupsPath"
    )


def not_made(directory: str, error: OSError) -> PyruncError:
    """A cgroup that was asked for and can't be made. The first words are runc's."""
    return PyruncError(
        f"unable to apply cgroup configuration: make cgroup {directory}: {reason(error)}",
        step="cgroup",
        pointer="/linux/cgroupsPath",
        errno=error.errno,
        hint="--systemd-cgroup, or a session of systemd's that delegates its cgroups"
        if error.errno in REFUSED
        else None,
    )


def usable(directory: str) -> bool:
    """Whether a cgroup is not there, or its limits and processes are ours to change."""
    for path in (directory, directory + "/cgroup.procs"):
        if posix.access(path, posix.F_OK) and not posix.access(path, posix.W_OK, effective_ids=True):
            return False
    return True


def no_limits(file: str, pointer: str | None) -> PyruncError:
    """A limit on a container that does without a cgroup. The words in the middle are runc's."""
    return PyruncError(
        f"cannot limit {file}: rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
        step="cgroup",
        pointer=pointer,
        errno=EACCES,
        hint="--systemd-cgroup, or a session of systemd's that delegates its cgroups",
    )
