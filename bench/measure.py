"""One call of a program: how long it took by the clock, in CPU time, and in peak memory."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.cgroups import hierarchies

MS = 1_000_000


class Sample(NamedTuple):
    """wall and cpu in nanoseconds."""

    wall: int
    cpu: int

    def __add__(self, other: object) -> Sample:
        if not isinstance(other, Sample):
            return NotImplemented
        return Sample(self.wall + other.wall, self.cpu + other.cpu)


class CallFailed(Exception):
    """The program did not end with status 0; the text is what it said."""


class Meter:
    """Counts the CPU time of everything that is started from here, whoever collects it in the end.

    By the cpuacct hierarchy of cgroup v1 where it is mounted: this process moves into a cgroup of its own, and the
    containers' cgroups are below it. Elsewhere by rusage, which misses a process until it has been waited for.
    """

    def __init__(self, cgroup: str) -> None:
        self.source = "rusage of the children"
        self._usage = -1
        self._back: Path | None = None
        mount = hierarchies().get("cpuacct")
        if mount is not None:
            mine = mount / cgroup.lstrip("/")
            mine.mkdir(parents=True, exist_ok=True)
            before = _own_cgroup("cpuacct")
            (mine / "cgroup.procs").write_text("0")
            self._back = mount / before.lstrip("/") / "cgroup.procs"
            self._usage = os.open(mine / "cpuacct.usage", os.O_RDONLY | os.O_CLOEXEC)
            self.source = "cpuacct: descendants and the container's processes too"
        # What the runtime says goes here: pipes would stay open in containers.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def call(self, argv: list[str]) -> Sample:
        """Run it to its end."""
        self._errors.truncate(0)
        actions = [
            (os.POSIX_SPAWN_DUP2, self._null, 0),
            (os.POSIX_SPAWN_DUP2, self._null, 1),
            (os.POSIX_SPAWN_DUP2, self._errors.fileno(), 2),
        ]
        gc.disable()
        cpu = self._cpu()
        wall = time.perf_counter_ns()
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        wall = time.perf_counter_ns() - wall
        cpu = self._cpu() - cpu
        gc.enable()
        if status:
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace").strip()
            raise CallFailed(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}: {text}")
        return Sample(wall, cpu)

    def close(self) -> None:
        """Go back to the cgroup that this process came from."""
        if self._back is not None:
            self._back.write_text("0")
            os.close(self._usage)

    def _cpu(self) -> int:
        """Nanoseconds used by everything but this process, which gives its own up to date before the total is read."""
        mine = time.process_time_ns()
        if self._usage >= 0:
            return int(os.pread(self._usage, 32, 0)) - mine
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return int((used.ru_utime + used.ru_stime) * 1e9)


def peak_rss(argv: list[str]) -> int:
    """KiB of the largest single process of the call, among those that were waited for.

    By busybox's `time`: what this interpreter starts itself would be charged with the interpreter's own peak, which a
    process keeps through execve.
    """
    return _time_v(argv) // _factor()


_factors: list[int] = []


def _factor() -> int:
    """Some versions of busybox print four times (a page in KiB) what the kernel says. Asked with a known amount."""
    if not _factors:
        mib = 64
        said = _time_v(["/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null", f"bs={mib}M", "count=1"])
        _factors.append(max(1, round(said / (mib * 1024))))
    return _factors[0]


def _time_v(argv: list[str]) -> int:
    with tempfile.NamedTemporaryFile("r") as report, tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            ["/bin/busybox", "time", "-v", "-o", report.name, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        if done.returncode:
            errors.seek(0)
            raise CallFailed(f"{' '.join(argv)}: status {done.returncode}: {errors.read().decode(errors='replace')}")
        for line in report:
            if "Maximum resident set size" in line:
                return int(line.rsplit(" ", 1)[1])
    raise CallFailed("busybox time says nothing of memory")


def _own_cgroup(controller: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path
    raise KeyError(controller)
