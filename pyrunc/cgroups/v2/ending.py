"""The end of a cgroup of cgroup v2: of its processes, and its own."""

from __future__ import annotations

import posix
import time
from errno import EBUSY, ENODEV, ENOENT, ENOTEMPTY
from typing import Final

from pyrunc.cgroups import walk
from pyrunc.cgroups.files import failure, write_file
from pyrunc.errors import PyruncError
from pyrunc.linux import files

# How long remove() waits for processes to be gone, in seconds.
_PATIENCE: Final = 5.0


def kill(directory: str, signal: int = 9) -> None:
    """Send signal to every process inside, child cgroups included. No error when the cgroup is gone."""
    if signal == 9:
        try:
            write_file(directory + "/cgroup.kill", "1")
            return
        except OSError as error:
            # Before Linux 5.14 the file is not there; neither is it when the cgroup is gone.
            if error.errno in (ENODEV,) or not files.exists(directory):
                return
    for _ in range(20 if signal == 9 else 1):
        inside = [pid for pid in sorted(walk.pids((directory,))) if pid not in (0, posix.getpid())]
        if not inside:
            return
        for pid in inside:
            try:
                posix.kill(pid, signal)
            except ProcessLookupError:
                continue


def remove(directory: str, *, end: bool) -> None:
    """Remove the cgroup and all beneath it; end: kill what is left inside first. Raises PyruncError."""
    deadline = time.monotonic() + _PATIENCE
    pause = 0.0001
    while True:
        try:
            posix.rmdir(directory)
            return
        except OSError as error:
            if error.errno == ENOENT:
                return
            if error.errno not in (EBUSY, ENOTEMPTY):
                raise failure("remove cgroup " + directory, error) from None
        if pause > 0.0005 and end:
            kill(directory)
        if walk.remove(directory):
            return
        if time.monotonic() > deadline:
            what = f"remove cgroup {directory}: {posix.strerror(EBUSY)}"
            if inside := sorted(walk.pids((directory,))):
                what += ": processes " + " ".join(str(pid) for pid in inside[:10])
            raise PyruncError(what, step="cgroup", errno=EBUSY)
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
