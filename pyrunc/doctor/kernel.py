"""The kernel: its version, how it was configured, what it allows of memory that is executed."""

from __future__ import annotations

import posix
from typing import Final

from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, text

#: The oldest with what pyrunc calls: mount_setattr(2).
OLDEST: Final = (5, 12)

# Of the kernel's configuration: without these no container can be made ...
_NEEDED: Final = [
    "NAMESPACES",
    "UTS_NS",
    "IPC_NS",
    "PID_NS",
    "NET_NS",
    "CGROUPS",
    "PROC_FS",
    "TMPFS",
    "UNIX98_PTYS",
    "FHANDLE",
    "EPOLL",
    "SIGNALFD",
    "EVENTFD",
    "MEMFD_CREATE",
]
# ... and without these not every one: option, what lacks it.
_WANTED: Final = {
    "USER_NS": "user namespaces, rootless containers",
    "TIME_NS": "time namespaces",
    "SECCOMP_FILTER": "seccomp filters",
    "MEMCG": "memory limits",
    "CGROUP_PIDS": "limits of processes",
    "CGROUP_SCHED": "CPU weights",
    "CFS_BANDWIDTH": "CPU quotas",
    "CPUSETS": "cpuset.cpus and cpuset.mems",
    "BLK_CGROUP": "block I/O limits",
    "CGROUP_FREEZER": "pause on cgroup v1",
    "CGROUP_BPF": "device rules on cgroup v2",
    "POSIX_MQUEUE": "mounts of the type mqueue",
    "OVERLAY_FS": "engines' images",
    "KEYS": "session keyrings",
}


def check() -> list[Finding]:
    return [_version(), *_config(), _memfd()]


def _version() -> Finding:
    release = posix.uname().release
    numbers = release.split("-")[0].split("+")[0].split(".")
    try:
        version = (int(numbers[0]), int(numbers[1]))
    except (ValueError, IndexError):
        return Finding(
            NOTE, "kernel", f"Linux {release}: not a version that can be compared", "pyrunc needs Linux 5.12 or later"
        )
    if version < OLDEST:
        return Finding(PROBLEM, "kernel", "Linux " + release, "pyrunc needs Linux 5.12 or later")
    return Finding(OK, "kernel", "Linux " + release)


def options(data: str) -> dict[str, str]:
    """A kernel's configuration: option without CONFIG_ to its value. Pure."""
    found = {}
    for line in data.split("\n"):
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            found[name[7:]] = value
    return found


def _read_config() -> dict[str, str]:
    """{} where the kernel keeps none, and none lies in /boot."""
    import gzip
    import zlib

    from pyrunc.linux import files

    try:
        return options(gzip.decompress(files.read("/proc/config.gz", limit=4 << 20)).decode("utf-8", "replace"))
    except (OSError, EOFError, zlib.error):
        return options(text("/boot/config-" + posix.uname().release, 4 << 20) or "")


def _config() -> list[Finding]:
    config = _read_config()
    if not config:
        words = "neither /proc/config.gz nor /boot/config-RELEASE can be read"
        return [
            Finding(NOTE, "kernel config", words, "modprobe configs, or look for the options in the kernel's package")
        ]
    missing = [name for name in _NEEDED if config.get(name) not in ("y", "m")]
    found = []
    if missing:
        names = ", ".join(["CONFIG_" + name for name in missing])
        found.append(Finding(PROBLEM, "kernel config", "not set: " + names, "a kernel that has them"))
    for name, what in _WANTED.items():
        if config.get(name) not in ("y", "m"):
            found.append(Finding(NOTE, "kernel config", f"CONFIG_{name} is not set: no {what}", "a kernel that has it"))
    return found or [Finding(OK, "kernel config", str(len(_NEEDED) + len(_WANTED)) + " options are set")]


def _memfd() -> Finding:
    value = text("/proc/sys/vm/memfd_noexec")
    if value == "2":
        return Finding(
            PROBLEM,
            "vm.memfd_noexec",
            "2: no program may be executed from memory, as create, run and exec do",
            "sysctl vm.memfd_noexec=1",
        )
    return Finding(OK, "vm.memfd_noexec", value or "this kernel has none")
